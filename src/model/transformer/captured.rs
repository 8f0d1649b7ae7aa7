//! Hidden states that are copied to the host on their way through the layers.

use super::chunks::Chunk;
use crate::backend::{HostRows, Segment};
use crate::model::language_model::Extend;

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
    pub(super) fn of(batch: &[Extend<'_>], chunks: &[Chunk], segments: &[Segment]) -> Vec<Self> {
        let (mut rows, mut tokens) = (Vec::new(), Vec::new());
        let mut layers: &[usize] = &[];
        for (chunk, segment) in chunks.iter().zip(segments) {
            let extend = &batch[chunk.sequence];
            if !extend.hidden.is_empty() {
                layers = extend.hidden;
                let before = captured_tokens(&batch[..chunk.sequence]);
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

/// How many tokens' hidden states are wanted.
pub(super) fn captured_tokens(batch: &[Extend<'_>]) -> usize {
    let captured = batch.iter().filter(|extend| !extend.hidden.is_empty());
    captured.map(|extend| extend.tokens.len()).sum()
}
