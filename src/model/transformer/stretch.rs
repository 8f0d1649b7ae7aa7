//! Models with two sets of rotary embeddings (LongRoPE, 2402.13753): one for texts of up to so many tokens, one for all tokens
//! of a longer text, as transformers has it.
//!
//! The keys of a text that grows past that length are computed again, as are those of one that is rolled back. So each
//! token's logits are those of the text up to it, whatever was computed with it: no chunk holds wanted rows of both kinds
//! ([`wanted_end`]), and no tree crosses the length ([`TargetModel::stretches_beyond`]).

use super::chunks::{Chunk, MAX_STEP_ROWS, PerSequence};
use super::forward::Sequences;
use super::sequence::{Keys, Sequence};
use super::{Transformer, captured::Captured};
use crate::backend::{Backend, Batch, Mask, Segment};
use crate::error::Result;
use crate::model::language_model::Extend;
use crate::model::logits::Logits;
use crate::model::tree::Parents;

impl<B: Backend> Transformer<B> {
    /// Brings a sequence's keys to the kind that a chunk needs.
    pub(super) fn prepare_keys(
        &self,
        extend: &Extend<'_>,
        chunk: &Chunk,
        sequence: &mut Sequence<B>,
        logits: &mut Logits,
    ) -> Result<()> {
        let Some(beyond) = self.spec.stretches_beyond() else {
            return Ok(());
        };
        let wanted = match sequence.length + decisive_token(extend, chunk) >= beyond {
            true => Keys::Stretched,
            false => Keys::Trained,
        };
        let appended = &extend.tokens[..chunk.tokens.start];
        if sequence.keys == wanted || sequence.length + appended.len() == 0 {
            sequence.keys = wanted;
            return Ok(());
        }
        let text = [&sequence.tokens[..], appended].concat();
        // Until all are computed they are of neither kind.
        sequence.keys = Keys::Mixed;
        for (index, ids) in text.chunks(MAX_STEP_ROWS).enumerate() {
            let segments = [Segment {
                past: index * MAX_STEP_ROWS,
                first_row: 0,
                rows: ids.len(),
                mask: Mask::Causal,
                provisional: 0,
                is_stretched: wanted == Keys::Stretched,
            }];
            let batch = Batch {
                segments: &segments,
                ancestors: &[],
            };
            let mut caches: PerSequence<&mut B::KvCache> = PerSequence::new();
            caches.push(&mut sequence.cache);
            let mut states = PerSequence::new();
            states.push(&mut sequence.states);
            let mut only = Sequences {
                caches: &mut caches,
                states: &mut states,
            };
            let captured: &mut [Captured] = &mut [];
            self.forward(ids, batch, &mut only, &[], captured, logits)?;
        }
        sequence.keys = wanted;
        Ok(())
    }
}

/// The token of a chunk whose position decides which embeddings the chunk has: the first whose logits are wanted, or the last.
fn decisive_token(extend: &Extend<'_>, chunk: &Chunk) -> usize {
    let first_wanted = extend.tokens.len() - extend.rows;
    match extend.parents {
        Parents::Chain => chunk
            .tokens
            .start
            .max(first_wanted.min(extend.tokens.len() - 1)),
        // It lies on one side as a whole: its root decides.
        Parents::Tree(_) => 0,
    }
}

/// Where a chunk of wanted rows that starts at `start` must end at the latest.
pub(super) fn wanted_end(beyond: Option<usize>, length: usize, start: usize) -> usize {
    match beyond {
        Some(beyond) if length + start < beyond => beyond - length,
        _ => usize::MAX,
    }
}
