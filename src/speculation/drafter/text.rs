//! A smaller model with another vocabulary, of which the text is compared, not the tokens (string-level exact match,
//! 2502.05202).

use std::sync::Arc;

use super::retokenizer::Retokenizer;
use super::sequence::DraftSequence;
use super::vocabulary::OtherVocabulary;
use super::{DraftLimit, Drafter};
use crate::error::Result;
use crate::model::SharedModel;
use crate::sampling::{Distribution, top_k};
use crate::settings::DraftKind;
use crate::speculation::Draft;

/// The maximum number of the history's tokens that are tokenized again together with a draft.
const LOOK_BACK: usize = 8;

/// The most probable tokens, which have nearly all of the probability.
const COMPARED: usize = 16;

/// Drafts the draft model's greedy text, in the target's tokens.
pub struct TextDrafter {
    sequence: DraftSequence,
    other: Arc<OtherVocabulary>,
    retokenizer: Retokenizer,
    /// The target's number of tokens; its tokenizer may have more.
    vocab_size: usize,
}

impl TextDrafter {
    /// A drafter for one request. `vocab_size` is the target's.
    pub fn new(
        model: &SharedModel,
        other: &Arc<OtherVocabulary>,
        vocab_size: usize,
    ) -> Result<Self> {
        Ok(Self {
            sequence: DraftSequence::new(model, None),
            retokenizer: other.retokenizer()?,
            other: Arc::clone(other),
            vocab_size,
        })
    }

    /// The text that the draft model generates after `history`, as far as it is probable enough, and whether it ends with an EOS
    /// token.
    fn generate(&mut self, history: &[u32], limit: DraftLimit) -> Result<Option<(String, bool)>> {
        let Some(text) = self.retokenizer.follow(history) else {
            return Ok(None);
        };
        let draft = self.other.draft();
        let mut detokenizer = draft.detokenizer(true, true);
        let room = self.sequence.room(text.len());
        let mut pending = self.sequence.reconcile(text)?;
        let mut generated = String::new();
        let mut probability = 1.0;
        for _ in 0..limit.tokens.min(room) {
            // The first one is drafted anyway: the planner learns from it.
            if !generated.is_empty() && probability < limit.worth {
                break;
            }
            let Some(logits) = self.sequence.next(&mut pending)? else {
                break;
            };
            let row = logits.row(0);
            let best = top_k(row, COMPARED);
            let Some(token) = best.first().copied() else {
                break;
            };
            probability *= share_of_first(row, &best);
            if draft.eos_token_ids().contains(&token) {
                return Ok(Some((generated, true)));
            }
            generated.push_str(&detokenizer.push(token)?);
            pending.push(token);
        }
        Ok(Some((generated, false)))
    }

    /// Encodes a text after `history` in the target's tokens: together with the word that it may continue.
    fn tokens_after(&self, history: &[u32], text: &str) -> Result<Vec<u32>> {
        let target = self.other.target();
        let mut word = String::new();
        let mut start = history.len();
        while start > history.len().saturating_sub(LOOK_BACK)
            && !word.starts_with(char::is_whitespace)
            && let Ok(before) = String::from_utf8(target.bytes(history[start - 1])?)
            && !before.is_empty()
        {
            word.insert_str(0, &before);
            start -= 1;
        }
        let together = target.encode_continuation(&(word + text))?;
        if let Some(tokens) = together.strip_prefix(&history[start..]) {
            return Ok(tokens.to_vec());
        }
        let alone = target.encode_continuation(text)?;
        let bytes: Result<Vec<Vec<u8>>> = alone.iter().map(|token| target.bytes(*token)).collect();
        Ok(match bytes?.concat() == text.as_bytes() {
            true => alone,
            false => Vec::new(),
        })
    }
}

/// The probability of the first of some tokens, given that it is one of them.
fn share_of_first(logits: &[f32], tokens: &[u32]) -> f64 {
    let logits = || tokens.iter().map(|token| logits[*token as usize]);
    let first = logits().next().unwrap_or_default();
    let sum: f64 = logits()
        .map(|logit| f64::from(libm::expf(logit - first)))
        .sum();
    1.0 / sum
}

impl Drafter for TextDrafter {
    fn unread(&self, tokens: usize) -> Option<usize> {
        // Its own tokens are about as many.
        Some(self.sequence.unread(tokens))
    }

    fn prefill(&mut self, prompt: &[u32]) -> Result<()> {
        match self.retokenizer.follow(prompt) {
            Some(text) => self.sequence.prefill(text),
            None => Ok(()),
        }
    }

    fn propose(&mut self, history: &[u32], limit: DraftLimit) -> Result<Draft> {
        let mut draft = Draft::default();
        let Some((text, ended)) = self.generate(history, limit)? else {
            return Ok(draft);
        };
        // The target cannot generate a text that its tokenizer cannot encode.
        let mut tokens = self.tokens_after(history, &text).unwrap_or_default();
        if ended {
            tokens.extend(self.other.target().end_token_id());
        }
        let known = |token: &u32| (*token as usize) < self.vocab_size;
        for token in tokens.into_iter().take(limit.tokens).take_while(known) {
            draft.push(token, Distribution::Point(token), DraftKind::MODEL);
        }
        Ok(draft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_as_probable_as_its_lead_says() {
        let logits = [0.0, 3.0_f32.ln(), f32::NEG_INFINITY];
        assert!((share_of_first(&logits, &[1, 0, 2]) - 0.75).abs() < 1e-6);
        assert!((share_of_first(&logits, &[1]) - 1.0).abs() < 1e-12);
    }
}
