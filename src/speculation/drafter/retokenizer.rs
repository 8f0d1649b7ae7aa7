//! Translates a growing text from one tokenizer's tokens into another's.

use crate::error::Result;
use crate::text::{Detokenizer, Tokenizer};

/// The tail is the end of the text whose tokens may still change. One of more than `MAX_TAIL` bytes is cut to `MIN_TAIL` bytes
/// or more.
const MAX_TAIL: usize = 96;
const MIN_TAIL: usize = 24;

/// A tail of more bytes is cut anywhere if it has no end of a word.
const MAX_WORD: usize = 384;

/// Translates a text incrementally.
///
/// Complete words keep their tokens, so that a step costs the same however long the text is. The tokens equal those of the
/// whole text if the tokenizer splits it before a blank that starts a word, as all common ones do.
pub struct Retokenizer {
    from: Tokenizer,
    to: Tokenizer,
    text: Detokenizer,
    /// The number of tokens translated so far.
    consumed: usize,
    tokens: Vec<u32>,
    /// The number of tokens before the text, such as BOS.
    before: usize,
    /// The number of tokens that no longer change.
    settled: usize,
    /// The text after those.
    tail: String,
    /// Whether the other tokenizer can't encode this text.
    failed: bool,
}

impl Retokenizer {
    /// Starts with an empty text.
    pub fn new(from: &Tokenizer, to: &Tokenizer) -> Result<Self> {
        let tokens = to.encode("", true)?;
        Ok(Self {
            text: from.detokenizer(true, false),
            from: from.clone(),
            to: to.clone(),
            consumed: 0,
            before: tokens.len(),
            settled: tokens.len(),
            tokens,
            tail: String::new(),
            failed: false,
        })
    }

    /// Follows a text; returns it in the other tokenizer's tokens. `None` if it ends within a character, or the other tokenizer
    /// can't encode it.
    pub fn follow(&mut self, text: &[u32]) -> Option<&[u32]> {
        if !self.failed
            && let Err(error) = self.advance(text)
        {
            tracing::warn!(
                "no more drafts for this text, which the draft's tokenizer can't encode: {error}"
            );
            self.failed = true;
        }
        let whole = !self.failed && !self.text.is_within_a_character();
        whole.then_some(&self.tokens)
    }

    fn advance(&mut self, text: &[u32]) -> Result<()> {
        for (index, id) in text.iter().enumerate().skip(self.consumed) {
            match self.from.special_token(*id) {
                Some(special) => self.push_special(&special, index)?,
                None => self.tail.push_str(&self.text.push(*id)?),
            }
        }
        self.consumed = text.len();
        if let Some(end) = settled_end(&self.tail) {
            let rest = self.tail.split_off(end);
            self.settle()?;
            self.tail = rest;
        }
        self.encode_tail()
    }

    /// Appends a special token: the same one of the other vocabulary, if it exists.
    fn push_special(&mut self, token: &str, index: usize) -> Result<()> {
        self.settle()?;
        // The other vocabulary's BOS token, if there is one, replaces that of the text.
        if index > 0 || self.before == 0 {
            self.tokens.extend(self.to.token_id(token));
        }
        self.settled = self.tokens.len();
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.encode_tail()?;
        self.settled = self.tokens.len();
        self.tail.clear();
        Ok(())
    }

    fn encode_tail(&mut self) -> Result<()> {
        self.tokens.truncate(self.settled);
        let tail = match self.settled == self.before {
            true => self.to.encode(&self.tail, false)?,
            false => self.to.encode_continuation(&self.tail)?,
        };
        self.tokens.extend(tail);
        Ok(())
    }
}

/// The end of the part of a tail that can be settled: the last end of a word with enough text after it.
fn settled_end(tail: &str) -> Option<usize> {
    if tail.len() <= MAX_TAIL {
        return None;
    }
    let characters = tail.char_indices();
    let pairs = characters.clone().zip(characters.skip(1));
    // Some tokenizers join line breaks to the punctuation before them.
    let ends = pairs.filter(|((_, before), (_, after))| {
        !before.is_whitespace()
            && (*after == ' ' || before.is_alphanumeric() && after.is_whitespace())
    });
    let end = ends
        .map(|(_, (end, _))| end)
        .take_while(|end| tail.len() - end >= MIN_TAIL)
        .last();
    let anywhere = || {
        let mut ends = (0..tail.len() - MIN_TAIL).rev();
        ends.find(|end| tail.is_char_boundary(*end))
    };
    end.or_else(|| (tail.len() > MAX_WORD).then(anywhere).flatten())
}
