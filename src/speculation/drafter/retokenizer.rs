//! A text that grows in one tokenizer's tokens, in another's.

use crate::error::Result;
use crate::text::{Detokenizer, Tokenizer};

/// Bytes at the text's end whose tokens may still change, and the fewest that are left so where it gets longer.
const MAX_TAIL: usize = 96;
const SHORTEST_TAIL: usize = 24;

/// Bytes without a blank after which words are cut anywhere.
const MAX_WORD: usize = 384;

/// Follows a text.
///
/// Words that are complete keep their tokens, so that a step costs the same however long the text is. The tokens are those
/// of the whole text wherever a tokenizer cuts it before a blank that begins a word, as all usual ones do.
pub struct Retokenizer {
    from: Tokenizer,
    to: Tokenizer,
    text: Detokenizer,
    /// How many tokens were read.
    consumed: usize,
    tokens: Vec<u32>,
    /// How many of the tokens were there before the text.
    before: usize,
    /// How many of the tokens stay.
    settled: usize,
    /// The text after those.
    tail: String,
    /// Whether the other tokenizer can't write this text.
    failed: bool,
}

impl Retokenizer {
    /// An empty text.
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

    /// Reads on in a text; returns it in the other's tokens. `None`: it ends within a character, or has some that the other
    /// can't write.
    pub fn follow(&mut self, text: &[u32]) -> Option<&[u32]> {
        if !self.failed
            && let Err(error) = self.read_on(text)
        {
            tracing::warn!(
                "no more drafts for this text, which the draft's tokenizer can't write: {error}"
            );
            self.failed = true;
        }
        let whole = !self.failed && !self.text.is_within_a_character();
        whole.then_some(&self.tokens)
    }

    fn read_on(&mut self, text: &[u32]) -> Result<()> {
        for (place, id) in text.iter().enumerate().skip(self.consumed) {
            match self.from.special_token(*id) {
                Some(special) => self.break_at(&special, place)?,
                None => self.tail.push_str(&self.text.push(*id)?),
            }
        }
        self.consumed = text.len();
        if let Some(end) = settled_end(&self.tail) {
            let rest = self.tail.split_off(end);
            self.settle()?;
            self.tail = rest;
        }
        self.write_tail()
    }

    /// A token without text: the same in the other vocabulary, if it is there.
    fn break_at(&mut self, token: &str, place: usize) -> Result<()> {
        self.settle()?;
        // The other vocabulary's BOS token, if there is one, replaces that of the text.
        if place > 0 || self.before == 0 {
            self.tokens.extend(self.to.token_id(token));
        }
        self.settled = self.tokens.len();
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.write_tail()?;
        self.settled = self.tokens.len();
        self.tail.clear();
        Ok(())
    }

    fn write_tail(&mut self) -> Result<()> {
        self.tokens.truncate(self.settled);
        let tail = match self.settled == self.before {
            true => self.to.encode(&self.tail, false)?,
            false => self.to.encode_continuation(&self.tail)?,
        };
        self.tokens.extend(tail);
        Ok(())
    }
}

/// Up to where a tail's tokens can stay: the last end of a word with enough text after it.
fn settled_end(tail: &str) -> Option<usize> {
    if tail.len() <= MAX_TAIL {
        return None;
    }
    let places = tail.char_indices();
    let pairs = places.clone().zip(places.skip(1));
    // Some tokenizers join line breaks to the punctuation before them.
    let ends = pairs.filter(|((_, before), (_, after))| {
        !before.is_whitespace()
            && (*after == ' ' || before.is_alphanumeric() && after.is_whitespace())
    });
    let end = ends
        .map(|(_, (end, _))| end)
        .take_while(|end| tail.len() - end >= SHORTEST_TAIL)
        .last();
    let anywhere = || {
        let mut ends = (0..tail.len() - SHORTEST_TAIL).rev();
        ends.find(|end| tail.is_char_boundary(*end))
    };
    end.or_else(|| (tail.len() > MAX_WORD).then(anywhere).flatten())
}
