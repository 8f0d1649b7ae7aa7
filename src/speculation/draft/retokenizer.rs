//! A text that grows in one tokenizer's tokens, in another's.

use crate::error::Result;
use crate::text::{Detokenizer, Tokenizer};

/// Bytes at the text's end whose tokens may still change, and the fewest that are left so where it gets longer.
const LONGEST_TAIL: usize = 96;
const SHORTEST_TAIL: usize = 24;

/// Follows a text.
///
/// Words that are complete keep their tokens, so that a step costs the same however long the text is. The tokens are those
/// of the whole text but for rare tokenizers that look back over words, where a draft model reads it a little differently.
pub struct Retokenizer {
    from: Tokenizer,
    to: Tokenizer,
    text: Detokenizer,
    /// How many tokens were read.
    read: usize,
    tokens: Vec<u32>,
    /// How many of the tokens stay.
    settled: usize,
    /// The text behind those.
    tail: String,
}

impl Retokenizer {
    /// An empty text.
    pub fn new(from: &Tokenizer, to: &Tokenizer) -> Result<Self> {
        let tokens = to.encode("", true)?;
        Ok(Self {
            text: from.detokenizer(true, false),
            from: from.clone(),
            to: to.clone(),
            read: 0,
            settled: tokens.len(),
            tokens,
            tail: String::new(),
        })
    }

    /// Reads on in a text; returns it in the other's tokens. `None`: it ends within a character.
    pub fn follow(&mut self, text: &[u32]) -> Result<Option<&[u32]>> {
        for id in text.get(self.read..).unwrap_or_default() {
            match self.from.special_token(*id) {
                Some(special) => self.break_at(*id, &special)?,
                None => self.tail.push_str(&self.text.push(*id)?),
            }
        }
        self.read = text.len();
        while self.tail.len() > LONGEST_TAIL
            && let Some(end) = word_end(&self.tail)
        {
            let rest = self.tail.split_off(end);
            self.settle()?;
            self.tail = rest;
        }
        self.tokens.truncate(self.settled);
        self.tokens.extend(self.to.encode_behind(&self.tail)?);
        Ok((!self.text.is_within_a_character()).then_some(&self.tokens))
    }

    /// A token without text: the same in the other vocabulary, if it is there.
    fn break_at(&mut self, id: u32, token: &str) -> Result<()> {
        self.settle()?;
        // The other's own beginning is there already.
        if self.from.bos_token_id() != Some(id) {
            self.tokens.extend(self.to.token_id(token));
        }
        self.settled = self.tokens.len();
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.tokens.truncate(self.settled);
        self.tokens.extend(self.to.encode_behind(&self.tail)?);
        self.settled = self.tokens.len();
        self.tail.clear();
        Ok(())
    }
}

/// The last end of a word with enough behind it: blanks belong together, and to the next word.
fn word_end(text: &str) -> Option<usize> {
    let blank = |place: usize| text[place..].starts_with(char::is_whitespace);
    let places = text.char_indices().map(|(place, _)| place);
    let pairs = places.clone().zip(places.skip(1));
    let ends = pairs.filter(|(before, end)| !blank(*before) && blank(*end));
    ends.map(|(_, end)| end)
        .take_while(|end| text.len() - end >= SHORTEST_TAIL)
        .last()
}
