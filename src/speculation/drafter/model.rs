//! A smaller model, whose tokens are drawn as the target's are.

use super::Drafter;
use super::sampler::Sampler;
use super::sequence::DraftSequence;
use super::vocabulary::Vocabulary;
use crate::error::Result;
use crate::model::SharedModel;
use crate::speculation::Draft;

/// Drafts by sampling from a model.
pub struct ModelDrafter {
    sequence: DraftSequence,
    vocabulary: Vocabulary,
    sampler: Sampler,
}

impl ModelDrafter {
    /// A drafter for one request, whose model has the last tokens of a long text alone, if there is a window.
    pub fn new(
        model: &SharedModel,
        window: Option<usize>,
        vocabulary: Vocabulary,
        sampler: Sampler,
    ) -> Self {
        Self {
            sequence: DraftSequence::new(model, window),
            vocabulary,
            sampler,
        }
    }
}

impl Drafter for ModelDrafter {
    fn unread(&self, tokens: usize) -> usize {
        self.sequence.unread(tokens)
    }

    fn prefill(&mut self, prompt: &[u32]) -> Result<()> {
        match self.vocabulary.follow(prompt) {
            Some(text) => self.sequence.prefill(text),
            None => Ok(()),
        }
    }

    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        let mut draft = Draft::default();
        let Some(text) = self.vocabulary.follow(history) else {
            return Ok(draft);
        };
        let limit = limit.min(self.sequence.room(text.len()));
        if limit == 0 {
            return Ok(draft);
        }
        let mut pending = self.sequence.reconcile(text)?;
        while draft.len() < limit
            && let Some(logits) = self.sequence.next(&mut pending)?
        {
            let row = logits.row(0);
            let row = self.vocabulary.logits(row, self.sampler.vocab_size());
            let Some(token) = self.sampler.draw(&row, history, &mut draft)? else {
                break;
            };
            pending.extend(self.vocabulary.to_draft(token));
        }
        self.sampler.widen(&mut draft);
        Ok(draft)
    }
}
