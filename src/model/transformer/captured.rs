//! Hidden states that are copied to the host on their way through the layers.

use super::chunks::Chunk;
use crate::backend::{HostRows, Segment};
use crate::model::language_model::Extend;
use crate::model::target_model::captured_tokens;

/// The hidden states of one layer that are wanted of a step.
pub(super) struct Captured {
    pub(super) layer: usize,
    /// Rows of the step.
    pub(super) rows: Vec<usize>,
    /// Which of the batch's tokens whose hidden states are wanted these rows are.
    pub(super) tokens: Vec<usize>,
    pub(super) values: HostRows,
}

impl Captured {
    /// Nothing is captured yet; one entry for each layer that is wanted.
    pub(super) fn of(
        batch: &[Extend<'_>],
        captured: &[&[usize]],
        chunks: &[Chunk],
        segments: &[Segment],
    ) -> Vec<Self> {
        let (mut rows, mut tokens) = (Vec::new(), Vec::new());
        let mut layers: &[usize] = &[];
        for (chunk, segment) in chunks.iter().zip(segments) {
            let own = captured.get(chunk.sequence).copied().unwrap_or_default();
            if !own.is_empty() {
                layers = own;
                let before = all_captured_tokens(&batch[..chunk.sequence], captured);
                tokens.extend(chunk.tokens.clone().map(|token| before + token));
                rows.extend(segment.first_row..segment.first_row + segment.rows);
            }
        }
        let layers = layers.iter().map(|layer| Self {
            layer: *layer,
            rows: rows.clone(),
            tokens: tokens.clone(),
            values: HostRows::default(),
        });
        layers.collect()
    }
}

/// How many of a batch's tokens have their hidden states captured.
pub(super) fn all_captured_tokens(batch: &[Extend<'_>], captured: &[&[usize]]) -> usize {
    let pairs = batch.iter().zip(captured);
    pairs
        .map(|(extend, layers)| captured_tokens(extend, Some(layers)))
        .sum()
}
