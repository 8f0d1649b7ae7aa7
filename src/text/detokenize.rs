//! Incremental detokenizing: the text of a stream of tokens, never with half a character.

use std::sync::Arc;

use super::spec::TokenizerSpec;
use crate::error::Result;

/// Decodes a stream of tokens. The chunks, joined, are what [`Tokenizer::decode`](super::Tokenizer::decode) returns for all
/// tokens at once.
pub struct Detokenizer {
    spec: Arc<TokenizerSpec>,
    skip_special_tokens: bool,
    /// Whether the next token's text follows other text.
    has_text: bool,
    /// The bytes of an incomplete character: at most three.
    pending: Vec<u8>,
}

impl Detokenizer {
    pub(super) fn new(
        spec: Arc<TokenizerSpec>,
        skip_special_tokens: bool,
        continues: bool,
    ) -> Self {
        Self {
            spec,
            skip_special_tokens,
            has_text: continues,
            pending: Vec::new(),
        }
    }

    /// The text that a token completes; empty in the middle of a character.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let bytes = self
            .spec
            .bytes(id, !self.has_text, self.skip_special_tokens)?;
        self.has_text |= !bytes.is_empty();
        self.pending.extend(bytes);
        Ok(take_characters(&mut self.pending))
    }

    /// Whether a character is incomplete.
    pub fn is_within_a_character(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Ends the stream: an incomplete character becomes U+FFFD.
    pub fn finish(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned())
    }
}

/// Takes the complete characters, and U+FFFD for bytes that cannot become one.
fn take_characters(pending: &mut Vec<u8>) -> String {
    let undecided = pending.utf8_chunks().last().map_or(0, |chunk| {
        // Only at the end of the input can an invalid sequence be the start of a character.
        let invalid = chunk.invalid();
        match std::str::from_utf8(invalid) {
            Err(error) if error.error_len().is_none() => invalid.len(),
            _ => 0,
        }
    });
    let rest = pending.split_off(pending.len() - undecided);
    let decided = std::mem::replace(pending, rest);
    String::from_utf8_lossy(&decided).into_owned()
}

#[cfg(test)]
mod tests {
    use super::take_characters;
    use proptest::prelude::*;

    proptest! {
        /// The text does not depend on how bytes are split into chunks, and less than a character is held back.
        #[test]
        fn any_partition_gives_the_same_text(chunks in prop::collection::vec(prop::collection::vec(
            prop_oneof![Just(b'a'), Just(0xE2), Just(0x82), Just(0xAC), Just(0xF0), Just(0x9F), any::<u8>()], 0..5), 0..12)) {
            let whole: Vec<u8> = chunks.concat();
            let mut pending = Vec::new();
            let mut text = String::new();
            for chunk in chunks {
                pending.extend(chunk);
                text.push_str(&take_characters(&mut pending));
                prop_assert!(pending.len() <= 3);
            }
            text.push_str(&String::from_utf8_lossy(&pending));
            prop_assert_eq!(text, String::from_utf8_lossy(&whole));
        }
    }

    #[test]
    fn a_character_appears_with_its_last_byte() {
        let mut pending = Vec::new();
        let mut push = |byte| {
            pending.push(byte);
            take_characters(&mut pending)
        };
        let chunks: Vec<String> = "é🙂".bytes().map(&mut push).collect();
        assert_eq!(chunks, ["", "é", "", "", "", "🙂"]);
    }
}
