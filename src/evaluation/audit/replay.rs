//! Runs the target over a finished text, to get the logits that plain decoding chooses each token from.

use super::report::BatchInvariance;
use crate::decoder::SpeculativeDecoder;
use crate::error::Result;
use crate::model::TokenSequence;

/// Tokens per forward pass, where the target's logits don't depend on that.
const CHUNK: usize = 64;

/// Rows whose logits are compared, computed together and one by one.
const COMPARED_ROWS: usize = 32;

/// Calls `visit` with each generated token's history, the token, and the logits that plain decoding chooses it from.
pub(super) fn replay(
    decoder: &SpeculativeDecoder,
    rows: BatchInvariance,
    prompt: &[u32],
    generated: &[u32],
    mut visit: impl FnMut(&[u32], u32, &[f32]) -> Result<()>,
) -> Result<()> {
    let whole = [prompt, generated].concat();
    let mut sequence = decoder.sequence();
    feed(&mut sequence, &prompt[..prompt.len() - 1])?;
    let mut length = prompt.len();
    let chunk = if rows.identical { CHUNK } else { 1 };
    for chunk in whole[prompt.len() - 1..whole.len() - 1].chunks(chunk) {
        let logits = sequence.extend(chunk, chunk.len())?;
        for row in 0..chunk.len() {
            visit(&whole[..length], whole[length], logits.row(row))?;
            length += 1;
        }
    }
    Ok(())
}

/// Compares the logits of a text's last rows, computed together and one by one. Tokens that don't fit the context are left
/// out.
pub(super) fn batch_invariance(
    decoder: &SpeculativeDecoder,
    text: &[u32],
) -> Result<BatchInvariance> {
    let text = &text[..text.len().min(decoder.sequence().context_length())];
    let rows = COMPARED_ROWS.min(text.len());
    let (prefix, compared) = text.split_at(text.len() - rows);
    let mut sequence = decoder.sequence();
    feed(&mut sequence, prefix)?;
    let together = sequence.extend(compared, rows)?;
    sequence.truncate(prefix.len())?;
    let mut found = BatchInvariance {
        rows,
        identical: true,
        largest_difference: 0.0,
        largest_logit: 0.0,
    };
    for (row, token) in compared.iter().enumerate() {
        let alone = sequence.extend(&[*token], 1)?;
        let finite = alone.row(0).iter().filter(|logit| logit.is_finite());
        let largest = finite.fold(0.0_f32, |max, logit| max.max(logit.abs()));
        found.largest_logit = found.largest_logit.max(f64::from(largest));
        for (a, b) in alone.row(0).iter().zip(together.row(row)) {
            if a.to_bits() == b.to_bits() {
                continue;
            }
            found.identical = false;
            // A logit that is infinite or NaN in one of them differs by more than rounding.
            let difference = f64::from((a - b).abs());
            let difference = if difference.is_finite() {
                difference
            } else {
                f64::INFINITY
            };
            found.largest_difference = found.largest_difference.max(difference);
        }
    }
    Ok(found)
}

fn feed(sequence: &mut TokenSequence, tokens: &[u32]) -> Result<()> {
    for chunk in tokens.chunks(CHUNK) {
        sequence.extend(chunk, 0)?;
    }
    Ok(())
}
