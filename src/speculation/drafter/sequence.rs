//! A draft model's token sequence, kept in step with the request's text.
//!
//! Of a long text it has only the end, the window: a draft reads fewer keys and values then than the target does, and its own
//! context may be shorter than the target's. (A window for drafts: LongSpec, 2502.17421.)

use crate::backend::OutputTiles;
use crate::error::Result;
use crate::model::{Logits, SharedModel, TokenSequence};
use crate::prefix;

/// The draft model's tokens, of which those that the text no longer holds are rolled back.
pub struct DraftSequence {
    sequence: TokenSequence,
    /// The tokens in the cache.
    cached: Vec<u32>,
    /// The text's tokens before those.
    skipped: usize,
    /// How many tokens it has at least of a longer text; it has up to twice as many.
    window: usize,
}

impl DraftSequence {
    /// An empty sequence, with this window; with the longest that the model's context allows, if there is none.
    pub fn new(model: &SharedModel, window: Option<usize>) -> Self {
        let sequence = TokenSequence::new(model);
        let longest = sequence.context_length() / 2;
        Self {
            window: window.map_or(longest, |window| window.min(longest)).max(1),
            sequence,
            cached: Vec::new(),
            skipped: 0,
        }
    }

    /// How many tokens may follow a text of so many.
    pub fn room(&mut self, tokens: usize) -> usize {
        self.slide(tokens);
        self.longest().saturating_sub(tokens - self.skipped)
    }

    /// How many tokens of a text of so many it would read now.
    pub fn unread(&self, tokens: usize) -> usize {
        match tokens.saturating_sub(self.skipped) >= self.longest() {
            true => self.window,
            false => tokens.saturating_sub(self.skipped + self.cached.len()),
        }
    }

    /// Prefills a text.
    pub fn prefill(&mut self, text: &[u32]) -> Result<()> {
        let own = self.slide(text.len());
        let new = self.roll_back(&text[own..], text.len() - own)?;
        if !new.is_empty() && self.knows(&new) {
            self.sequence.extend(&new, 0)?;
            self.cached.extend(new);
        }
        Ok(())
    }

    /// Rolls back to what it shares with a text; returns the tokens that are left to feed, the newest at
    /// least, for its logits.
    pub fn reconcile(&mut self, text: &[u32]) -> Result<Vec<u32>> {
        let own = &text[self.slide(text.len())..];
        self.roll_back(own, own.len().saturating_sub(1))
    }

    /// Feeds `tokens` and empties them; returns the logits after the last one. `None`: the model does not know them all.
    pub fn next(&mut self, tokens: &mut Vec<u32>) -> Result<Option<Logits>> {
        self.next_masked(tokens, &[], None)
    }

    /// The same with masks after the tokens, which stand for tokens to come, and are rolled back: the logits after each mask follow.
    /// `among`: the tokens that logits are wanted of, if not all.
    pub fn next_masked(
        &mut self,
        tokens: &mut Vec<u32>,
        masks: &[u32],
        among: Option<&OutputTiles>,
    ) -> Result<Option<Logits>> {
        if tokens.is_empty() || !self.knows(tokens) || !self.knows(masks) {
            return Ok(None);
        }
        let fed = [tokens, masks].concat();
        let logits = self.sequence.extend_among(&fed, 1 + masks.len(), among)?;
        self.cached.append(tokens);
        if !masks.is_empty() {
            let kept = self.sequence.rewind(self.cached.len())?;
            self.cached.truncate(kept);
        }
        Ok(Some(logits))
    }

    /// How many tokens it has at most: twice the window, so that a token is read twice in the worst case.
    fn longest(&self) -> usize {
        (2 * self.window).min(self.sequence.context_length())
    }

    /// The first of a text's tokens that it has: another one if there are too many.
    fn slide(&mut self, tokens: usize) -> usize {
        if tokens < self.skipped {
            self.skipped = 0;
        }
        if tokens - self.skipped >= self.longest() {
            self.skipped = tokens - self.window.min(tokens);
        }
        self.skipped
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
