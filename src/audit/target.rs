//! What the target says about a text by itself: the measure that speculation is held to.

use super::report::RowInvariance;
use crate::decoder::SpeculativeDecoder;
use crate::error::Result;
use crate::model::TokenSequence;

/// Tokens that are fed at once, where that makes no difference.
const PIECE: usize = 64;

/// Rows whose logits are computed together and one by one.
const COMPARED_ROWS: usize = 32;

/// Calls `visit` with each written token's history, the token, and the logits that plain decoding chooses it by.
pub(super) fn replay(
    decoder: &SpeculativeDecoder,
    rows: RowInvariance,
    prompt: &[u32],
    written: &[u32],
    mut visit: impl FnMut(&[u32], u32, &[f32]) -> Result<()>,
) -> Result<()> {
    let whole = [prompt, written].concat();
    let mut sequence = decoder.sequence();
    feed(&mut sequence, &prompt[..prompt.len() - 1])?;
    let mut length = prompt.len();
    let piece = if rows.identical { PIECE } else { 1 };
    for piece in whole[prompt.len() - 1..whole.len() - 1].chunks(piece) {
        let logits = sequence.extend(piece, piece.len())?;
        for row in 0..piece.len() {
            visit(&whole[..length], whole[length], logits.row(row))?;
            length += 1;
        }
    }
    Ok(())
}

/// Compares the logits of a text's last rows, computed together and one by one. What doesn't fit the context is left out.
pub(super) fn row_invariance(decoder: &SpeculativeDecoder, text: &[u32]) -> Result<RowInvariance> {
    let text = &text[..text.len().min(decoder.sequence().context_length())];
    let rows = COMPARED_ROWS.min(text.len());
    let (beginning, compared) = text.split_at(text.len() - rows);
    let mut sequence = decoder.sequence();
    feed(&mut sequence, beginning)?;
    let together = sequence.extend(compared, rows)?;
    sequence.truncate(beginning.len())?;
    let mut found = RowInvariance {
        rows,
        identical: true,
        largest_difference: 0.0,
        largest_logit: 0.0,
    };
    for (row, token) in compared.iter().enumerate() {
        let alone = sequence.extend(&[*token], 1)?;
        let finite = alone.row(0).iter().filter(|logit| logit.is_finite());
        let largest = finite.fold(0.0_f32, |most, logit| most.max(logit.abs()));
        found.largest_logit = found.largest_logit.max(f64::from(largest));
        for (a, b) in alone.row(0).iter().zip(together.row(row)) {
            if a.to_bits() == b.to_bits() {
                continue;
            }
            found.identical = false;
            // What is infinite, or no number, in one of them only differs by more than rounding.
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
    for piece in tokens.chunks(PIECE) {
        sequence.extend(piece, 0)?;
    }
    Ok(())
}
