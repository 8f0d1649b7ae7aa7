//! What the target says about a text, one row after another: the measure that speculation is held to.

use super::report::RowInvariance;
use crate::decoder::SpeculativeDecoder;
use crate::error::Result;
use crate::model::TokenSequence;

/// Tokens that are fed at once.
const PIECE: usize = 64;

/// Rows whose logits are computed together and one by one.
const COMPARED_ROWS: usize = 32;

/// Calls `visit` with each written token's history, the token, and the logits that it was chosen by.
pub(super) fn replay(
    decoder: &SpeculativeDecoder,
    prompt: &[u32],
    written: &[u32],
    mut visit: impl FnMut(&[u32], u32, &[f32]) -> Result<()>,
) -> Result<()> {
    let whole = [prompt, written].concat();
    let mut sequence = decoder.sequence();
    feed(&mut sequence, &prompt[..prompt.len() - 1])?;
    let mut length = prompt.len();
    for piece in whole[prompt.len() - 1..whole.len() - 1].chunks(PIECE) {
        let logits = sequence.extend(piece, piece.len())?;
        for row in 0..piece.len() {
            visit(&whole[..length], whole[length], logits.row(row))?;
            length += 1;
        }
    }
    Ok(())
}

/// Compares the logits of a text's last rows, computed together and one by one.
pub(super) fn row_invariance(decoder: &SpeculativeDecoder, text: &[u32]) -> Result<RowInvariance> {
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
        for (a, b) in alone.row(0).iter().zip(together.row(row)) {
            found.identical &= a.to_bits() == b.to_bits();
            let difference = f64::from((a - b).abs());
            found.largest_difference = found.largest_difference.max(difference);
            found.largest_logit = found.largest_logit.max(f64::from(a.abs()));
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
