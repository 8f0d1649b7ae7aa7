//! The parts of a tokenizer, and the bytes of its tokens.

use std::collections::BTreeMap;

use tokenizers::Decoder;

use super::chat::TemplateSource;
use crate::error::{Error, Result};
use crate::panics::{self, Caught};

/// A loaded tokenizer with its special tokens, whether from a folder or from GGUF metadata.
pub(super) struct TokenizerSpec {
    pub(super) tokenizer: tokenizers::Tokenizer,
    pub(super) bos: Option<u32>,
    pub(super) eos: Vec<u32>,
    /// The EOS token of the tokenizer's own settings; one of `eos`.
    pub(super) end: Option<u32>,
    pub(super) chat_template: Option<TemplateSource>,
    /// `bos_token`, `eos_token`, ...: text, by the names that chat templates use.
    pub(super) special_tokens: BTreeMap<&'static str, String>,
    pub(super) spelling: Spelling,
}

/// How tokens spell bytes that are not whole characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Every byte is a character of GPT-2's alphabet.
    ByteLevel,
    /// Tokens are text, and `<0xE2>` is a byte (`SentencePiece`).
    ByteFallback,
    /// Tokens are text.
    Text,
}

impl TokenizerSpec {
    /// The bytes that a token adds to a text; `first` if it starts the text. Empty for a token without text.
    pub(super) fn bytes(&self, id: u32, first: bool, skip_special_tokens: bool) -> Result<Vec<u8>> {
        let tokenizer = &self.tokenizer;
        let Some(token) = tokenizer.id_to_token(id) else {
            return Ok(Vec::new());
        };
        if skip_special_tokens && tokenizer.get_added_vocabulary().is_special_token(&token) {
            return Ok(Vec::new());
        }
        let spelled = match self.spelling {
            Spelling::ByteLevel => token.chars().map(byte_of_char).collect(),
            Spelling::ByteFallback => byte_of_name(&token).map(|byte| vec![byte]),
            Spelling::Text => None,
        };
        match spelled {
            Some(bytes) => Ok(bytes),
            None if self.spelling == Spelling::ByteLevel => Ok(token.into_bytes()),
            None => self.text_of(token, first).map(String::into_bytes),
        }
    }

    /// A token's text, as decoded at the start of a text (`first`) or after another token.
    fn text_of(&self, token: String, first: bool) -> Result<String> {
        const ANOTHER: &str = "a";
        let Some(decoder) = self.tokenizer.get_decoder() else {
            let space = if first { "" } else { " " };
            return Ok(format!("{space}{token}"));
        };
        let tokens = match first {
            true => vec![token],
            false => vec![ANOTHER.to_owned(), token],
        };
        let text = guarded(|| decoder.decode(tokens)).map_err(Error::Compute)?;
        Ok(match first {
            true => text,
            false => text.strip_prefix(ANOTHER).unwrap_or(&text).to_owned(),
        })
    }
}

impl Spelling {
    /// The spelling that the tokenizer's decoder expects.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Self {
        let decoder = tokenizer.get_decoder().map(serde_json::to_value);
        let Some(Ok(decoder)) = decoder else {
            return Self::Text;
        };
        let steps = decoder["decoders"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let has = |name: &str| {
            let mut all = steps.iter().chain([&decoder]);
            all.any(|step| step["type"] == name)
        };
        if has("ByteLevel") {
            Self::ByteLevel
        } else if has("ByteFallback") {
            Self::ByteFallback
        } else {
            Self::Text
        }
    }
}

/// Calls the tokenizers library, which panics on some invalid contents, and turns panics into errors.
pub(super) fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match panics::catch(call) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(Caught(panic)) => {
            tracing::debug!("the tokenizer: {panic}");
            Err("the tokenizer's contents are inconsistent".to_owned())
        }
    }
}

/// The byte that a character of a byte-level token represents.
///
/// GPT-2's alphabet: visible Latin-1 characters represent themselves; the characters from U+0100 on represent the other
/// bytes, in order.
fn byte_of_char(character: char) -> Option<u8> {
    let visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(character).checked_sub(0x100) {
        None => u8::try_from(character).ok().filter(visible),
        Some(index) => (0..=u8::MAX)
            .filter(|byte| !visible(byte))
            .nth(index as usize),
    }
}

/// The byte of a token named `<0x0A>`.
fn byte_of_name(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let strict = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    strict.then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_a_bijection() {
        let mut bytes: Vec<u8> = (0..0x200)
            .filter_map(char::from_u32)
            .filter_map(byte_of_char)
            .collect();
        assert_eq!(bytes.len(), 256);
        bytes.sort_unstable();
        assert!(bytes.into_iter().eq(0..=u8::MAX));
        assert_eq!(byte_of_char('Ġ'), Some(b' '));
        assert_eq!(byte_of_char('Ċ'), Some(b'\n'));
        assert_eq!(byte_of_char('A'), Some(b'A'));
        assert_eq!(byte_of_char('漢'), None);
    }

    #[test]
    fn byte_names_are_parsed_strictly() {
        assert_eq!(byte_of_name("<0x0A>"), Some(10));
        assert_eq!(byte_of_name("<0xff>"), Some(255));
        for other in ["<0x>", "<0x1>", "<0x123>", "<0xZZ>", "0x0A", "<0x+1>"] {
            assert_eq!(byte_of_name(other), None, "{other}");
        }
    }
}
