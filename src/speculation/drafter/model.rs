//! A smaller model, whose tokens are drawn as the target's are.
//!
//! A model that was trained to may draft several tokens in one pass: masks stand for those before (PARD, 2504.18583).

use super::sampler::Sampler;
use super::sequence::DraftSequence;
use super::vocabulary::Vocabulary;
use super::{DraftLimit, Drafter};
use crate::error::Result;
use crate::model::SharedModel;
use crate::speculation::Draft;

/// The most tokens of one pass with masks: as many as such models are trained for.
const MAX_PARALLEL: usize = 8;

/// A model to draft from.
pub struct DraftedModel<'a> {
    /// It.
    pub model: &'a SharedModel,
    /// How many of the last tokens of a long text it has, if fewer than its context allows.
    pub window: Option<usize>,
    /// The token that stands for one to come, if it knows such.
    pub mask: Option<u32>,
}

/// Drafts by sampling from a model.
pub struct ModelDrafter {
    sequence: DraftSequence,
    mask: Option<u32>,
    vocabulary: Vocabulary,
    sampler: Sampler,
}

impl ModelDrafter {
    /// A drafter for one request.
    pub fn new(drafted: &DraftedModel<'_>, vocabulary: Vocabulary, sampler: Sampler) -> Self {
        Self {
            sequence: DraftSequence::new(drafted.model, drafted.window),
            mask: drafted.mask,
            vocabulary,
            sampler,
        }
    }
}

impl Drafter for ModelDrafter {
    fn tokens_a_pass(&self) -> usize {
        self.mask.map_or(1, |_| MAX_PARALLEL)
    }

    fn unread(&self, tokens: usize) -> Option<usize> {
        Some(self.sequence.unread(tokens))
    }

    fn prefill(&mut self, prompt: &[u32]) -> Result<()> {
        match self.vocabulary.follow(prompt) {
            Some(text) => self.sequence.prefill(text),
            None => Ok(()),
        }
    }

    fn propose(&mut self, history: &[u32], limit: DraftLimit) -> Result<Draft> {
        let mut draft = Draft::default();
        let Some(text) = self.vocabulary.follow(history) else {
            return Ok(draft);
        };
        let tokens = limit.tokens.min(self.sequence.room(text.len()));
        if tokens == 0 {
            return Ok(draft);
        }
        let mut pending = self.sequence.reconcile(text)?;
        'passes: while draft.len() < tokens {
            let rows = (tokens - draft.len()).min(self.tokens_a_pass());
            let masks = self.mask.map(|mask| vec![mask; rows - 1]);
            let masks = masks.unwrap_or_default();
            let Some(logits) = self.sequence.next_masked(&mut pending, &masks)? else {
                break;
            };
            for row in 0..rows {
                let row = logits.row(row);
                let row = self.vocabulary.logits(row, self.sampler.vocab_size());
                let Some(token) = self.sampler.draw(&row, history, &mut draft)? else {
                    break 'passes;
                };
                if self.sampler.expects(draft.len()) < limit.worth {
                    break 'passes;
                }
                pending.extend(self.vocabulary.to_draft(token));
            }
        }
        self.sampler.widen(&mut draft);
        Ok(draft)
    }
}
