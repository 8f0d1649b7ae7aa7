//! A draft model's token sequence, kept in step with the request's text.

use crate::error::Result;
use crate::model::{Logits, SharedModel, TokenSequence};
use crate::prefix;

/// The draft model's tokens, of which those that the text no longer holds are rolled back.
pub struct DraftSequence {
    sequence: TokenSequence,
    /// The tokens in the cache.
    cached: Vec<u32>,
}

impl DraftSequence {
    /// An empty sequence.
    pub fn new(model: &SharedModel) -> Self {
        Self {
            sequence: TokenSequence::new(model),
            cached: Vec::new(),
        }
    }

    /// How many tokens may follow so many: the draft's own context may be shorter than the target's.
    pub fn room(&self, tokens: usize) -> usize {
        self.sequence.context_length().saturating_sub(tokens)
    }

    /// Prefills a text, up to the draft model's context length.
    pub fn prefill(&mut self, text: &[u32]) -> Result<()> {
        let text = &text[..text.len().min(self.sequence.context_length())];
        let new = self.roll_back(text, text.len())?;
        if !new.is_empty() && self.knows(&new) {
            self.sequence.extend(&new, 0)?;
            self.cached.extend(new);
        }
        Ok(())
    }

    /// Rolls back to what it shares with a text; returns the tokens that are left to feed, the newest at
    /// least, for its logits.
    pub fn reconcile(&mut self, text: &[u32]) -> Result<Vec<u32>> {
        self.roll_back(text, text.len().saturating_sub(1))
    }

    /// Feeds `tokens` and empties them; returns the logits after the last one. `None`: the model does not know them all.
    pub fn next(&mut self, tokens: &mut Vec<u32>) -> Result<Option<Logits>> {
        if tokens.is_empty() || !self.knows(tokens) {
            return Ok(None);
        }
        let logits = self.sequence.extend(tokens, 1)?;
        self.cached.append(tokens);
        Ok(Some(logits))
    }

    fn roll_back(&mut self, text: &[u32], most: usize) -> Result<Vec<u32>> {
        let shared = prefix::shared(&self.cached, text);
        let kept = self.sequence.rewind(shared.min(most))?;
        self.cached.truncate(kept);
        // What is drafted from here may be rejected.
        self.sequence.checkpoint()?;
        Ok(text[kept..].to_vec())
    }

    /// Whether the model has all these tokens: those of one family pad their vocabularies to different sizes.
    fn knows(&self, tokens: &[u32]) -> bool {
        let known = self.sequence.vocab_size();
        tokens.iter().all(|token| (*token as usize) < known)
    }
}
