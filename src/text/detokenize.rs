//! Text that grows token by token, and never shows half a character.

use std::sync::Arc;

use super::parts::Parts;
use crate::error::Result;

/// Decodes a stream of tokens. The pieces, one behind the other, are what [`Tokenizer::decode`](super::Tokenizer::decode) gives at once.
pub struct Detokenizer {
    parts: Arc<Parts>,
    skip_special_tokens: bool,
    /// Whether there is text before the next token's.
    begun: bool,
    /// Bytes that may yet become a character: at most three.
    pending: Vec<u8>,
}

impl Detokenizer {
    pub(super) fn new(parts: Arc<Parts>, skip_special_tokens: bool, continues: bool) -> Self {
        Self {
            parts,
            skip_special_tokens,
            begun: continues,
            pending: Vec::new(),
        }
    }

    /// The text that a token completes; empty in the middle of a character.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let bytes = self
            .parts
            .bytes(id, !self.begun, self.skip_special_tokens)?;
        self.begun |= !bytes.is_empty();
        self.pending.extend(bytes);
        Ok(take_characters(&mut self.pending))
    }

    /// Whether a character is begun and not complete.
    pub fn is_within_a_character(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Ends the stream: what was held back, as U+FFFD, since it was not a character.
    pub fn finish(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned())
    }
}

/// Takes all that is decided: whole characters, and U+FFFD for bytes that can't become any.
fn take_characters(pending: &mut Vec<u8>) -> String {
    let undecided = pending.utf8_chunks().last().map_or(0, |chunk| {
        // Only at the end of its input can an invalid sequence be the beginning of a character.
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
        /// However bytes arrive, the text is the same, and what is held back is less than a character.
        #[test]
        fn any_partition_gives_the_same_text(pieces in prop::collection::vec(prop::collection::vec(
            prop_oneof![Just(b'a'), Just(0xE2), Just(0x82), Just(0xAC), Just(0xF0), Just(0x9F), any::<u8>()], 0..5), 0..12)) {
            let whole: Vec<u8> = pieces.concat();
            let mut pending = Vec::new();
            let mut text = String::new();
            for piece in pieces {
                pending.extend(piece);
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
        let pieces: Vec<String> = "é🙂".bytes().map(&mut push).collect();
        assert_eq!(pieces, ["", "é", "", "", "", "🙂"]);
    }
}
