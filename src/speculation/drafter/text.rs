//! A smaller model of another vocabulary, whose text is compared, not its tokens (string-level exact match, 2502.05202).

use std::sync::Arc;

use super::Drafter;
use super::retokenizer::Retokenizer;
use super::sequence::DraftSequence;
use super::vocabulary::OtherVocabulary;
use crate::error::Result;
use crate::model::SharedModel;
use crate::sampling::{Distribution, top_k};
use crate::settings::DraftKind;
use crate::speculation::Draft;

/// Most tokens of the history that are put into tokens anew together with a draft.
const LOOK_BACK: usize = 8;

/// Drafts the draft model's greedy text, in the target's tokens.
pub struct TextDrafter {
    sequence: DraftSequence,
    other: Arc<OtherVocabulary>,
    retokenizer: Retokenizer,
    /// Tokens of the target; its tokenizer may have others.
    vocab_size: usize,
}

impl TextDrafter {
    /// A draft for one request. `vocab_size` is the target's.
    pub fn new(
        model: &SharedModel,
        other: &Arc<OtherVocabulary>,
        vocab_size: usize,
    ) -> Result<Self> {
        Ok(Self {
            sequence: DraftSequence::new(model),
            retokenizer: other.retokenizer()?,
            other: Arc::clone(other),
            vocab_size,
        })
    }

    /// The text that the draft model generates after some tokens, and whether it ends there.
    fn write(&mut self, history: &[u32], limit: usize) -> Result<Option<(String, bool)>> {
        let Some(text) = self.retokenizer.follow(history) else {
            return Ok(None);
        };
        let draft = self.other.draft();
        let mut detokenizer = draft.detokenizer(true, true);
        let mut pending = self.sequence.reconcile(text)?;
        let mut written = String::new();
        for _ in 0..limit.min(self.sequence.room(text.len())) {
            let Some(logits) = self.sequence.next(&mut pending)? else {
                break;
            };
            let Some(token) = top_k(logits.row(0), 1).pop() else {
                break;
            };
            if draft.eos_token_ids().contains(&token) {
                return Ok(Some((written, true)));
            }
            written.push_str(&detokenizer.push(token)?);
            pending.push(token);
        }
        Ok(Some((written, false)))
    }

    /// A text in the target's tokens, as it tokenizes it after others: with the word that it may continue.
    fn tokens_after(&self, history: &[u32], text: &str) -> Result<Vec<u32>> {
        let target = self.other.target();
        let mut word = String::new();
        let mut begin = history.len();
        while begin > history.len().saturating_sub(LOOK_BACK)
            && !word.starts_with(char::is_whitespace)
            && let Ok(before) = String::from_utf8(target.bytes(history[begin - 1])?)
            && !before.is_empty()
        {
            word.insert_str(0, &before);
            begin -= 1;
        }
        let together = target.encode_continuation(&(word + text))?;
        if let Some(tokens) = together.strip_prefix(&history[begin..]) {
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

impl Drafter for TextDrafter {
    fn prefill(&mut self, prompt: &[u32]) -> Result<()> {
        match self.retokenizer.follow(prompt) {
            Some(text) => self.sequence.prefill(text),
            None => Ok(()),
        }
    }

    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        let mut draft = Draft::default();
        let Some((text, ended)) = self.write(history, limit)? else {
            return Ok(draft);
        };
        // A text that the target's tokenizer has no way to write is none of the target's.
        let mut tokens = self.tokens_after(history, &text).unwrap_or_default();
        if ended {
            tokens.extend(self.other.target().end_token_id());
        }
        let known = |token: &u32| (*token as usize) < self.vocab_size;
        for token in tokens.into_iter().take(limit).take_while(known) {
            draft.push(token, Distribution::Point(token), DraftKind::MODEL);
        }
        Ok(draft)
    }
}
