//! Which tokens may follow in a text of some form.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::parts::{Parts, guarded};
use crate::error::{Error, Result};
use crate::response_format::ResponseFormat;

/// Turns forms into grammars over a tokenizer's tokens.
pub(super) struct GrammarCompiler(ParserFactory);

impl GrammarCompiler {
    /// Spells out all tokens: takes a moment for a large vocabulary.
    pub(super) fn new(parts: &Arc<Parts>) -> Result<Self> {
        let size = parts.tokenizer.get_vocab_size(true);
        let eos: Vec<u32> = parts
            .eos
            .iter()
            .copied()
            .filter(|id| (*id as usize) < size)
            .collect();
        let Some(first_eos) = eos.first() else {
            let reason =
                "a response_format needs an end-of-text token, which its tokenizer doesn't have";
            return Err(Error::unsupported("the target", reason));
        };
        let words = (0..size as u32).map(|id| spelling(parts, id));
        let words: Vec<Vec<u8>> = words.collect::<Result<_>>()?;
        let built = guarded(|| {
            let info = TokRxInfo::new(size as u32, *first_eos);
            let trie = TokTrie::from(&info, &words).with_eos_tokens(&eos);
            let parts = parts.clone();
            let environment: TokEnv = Arc::new(Environment { trie, parts });
            let slices = SlicedBiasComputer::general_slices();
            let capabilities = InferenceCapabilities::default();
            Ok(ParserFactory::new(&environment, capabilities, &slices)?)
        });
        let mut factory = built.map_err(Error::Compute)?;
        factory.quiet();
        Ok(Self(factory))
    }

    /// The grammar of a form; an error says what is wrong with it.
    pub(super) fn compile(&self, format: &ResponseFormat) -> Result<Grammar> {
        let grammar = match format {
            ResponseFormat::JsonObject => json_of(json!({"type": "object"})),
            ResponseFormat::JsonSchema(schema) => json_of(schema.clone()),
            ResponseFormat::Regex(regex) => TopLevelGrammar::from_regex(regex),
            ResponseFormat::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
        };
        let parser = guarded(|| Ok(self.0.create_parser(grammar)?));
        let wrong = |reason: String| {
            let expected = format!("a form that can be compiled: {reason}");
            Error::invalid("response_format", format.to_json(), expected)
        };
        let matcher = Matcher::new(Ok(parser.map_err(wrong)?));
        match matcher.get_error() {
            Some(reason) => Err(wrong(reason)),
            None => Ok(Grammar {
                matcher,
                taken: Vec::new(),
            }),
        }
    }
}

/// Where JSON may have white space, a blank, or one or two line breaks and an indentation (llama.cpp's rule): more of it is
/// what small models get lost in.
const WHITE_SPACE: &str = r"\x20|(\r?\n){1,2}[\x20\t]{0,20}";

/// JSON of a schema, whose own wishes for llguidance come first.
fn json_of(mut schema: Value) -> TopLevelGrammar {
    if let Some(schema) = schema.as_object_mut() {
        let options = schema.entry("x-guidance").or_insert_with(|| json!({}));
        if let Some(options) = options.as_object_mut() {
            let pattern = options.entry("whitespace_pattern");
            pattern.or_insert_with(|| WHITE_SPACE.into());
        }
    }
    TopLevelGrammar::from_json_schema(schema)
}

/// A token's bytes; those of special tokens are marked, so that no text is mistaken for them.
fn spelling(parts: &Parts, id: u32) -> Result<Vec<u8>> {
    let bytes = parts.bytes(id, false, false)?;
    let special = parts.tokenizer.id_to_token(id);
    let added = parts.tokenizer.get_added_vocabulary();
    match special.filter(|token| added.is_special_token(token)) {
        Some(token) => Ok([&[TokTrie::SPECIAL_TOKEN_MARKER], token.as_bytes()].concat()),
        None => Ok(bytes),
    }
}

/// The tokenizer, as llguidance sees it.
struct Environment {
    trie: TokTrie,
    parts: Arc<Parts>,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let encode = |text: &str| {
            let encoding = guarded(|| self.parts.tokenizer.encode_fast(text, false));
            let tokens = encoding.map(|encoding| encoding.get_ids().to_vec());
            // Some tokenizers put a space before every text.
            let exact = tokens
                .ok()
                .filter(|tokens| self.trie.decode_raw(tokens) == text.as_bytes());
            exact.unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
        };
        self.trie.tokenize_with_greedy_fallback(bytes, encode)
    }
}

/// A form, at some place of a text.
pub struct Grammar {
    matcher: Matcher,
    /// The tokens that led to this place.
    taken: Vec<u32>,
}

/// Tokens that may follow.
pub struct AllowedTokens(SimpleVob);

impl AllowedTokens {
    /// Takes away the weight of all others.
    pub fn apply(&self, logits: &mut [f32]) {
        for (token, logit) in logits.iter_mut().enumerate() {
            if token >= self.0.len() || !self.0.get(token) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

impl Grammar {
    /// The tokens that may follow a text. Behind its end, and behind a text that is not of this form (which a draft may
    /// propose, in vain), those that end it.
    pub fn allowed(&mut self, text: &[u32]) -> Result<AllowedTokens> {
        let mask = match self.go_to(text)? {
            true => self.matcher.compute_mask_or_eos(),
            false => self
                .matcher
                .tok_env()
                .map(|tokens| tokens.tok_trie().eos_token_set()),
        };
        mask.map(AllowedTokens).map_err(failed)
    }

    /// Whether a text is of this form, or a beginning of such.
    pub fn permits(&mut self, text: &[u32]) -> Result<bool> {
        self.go_to(text)
    }

    /// The tokens that must follow a text, as far as that is certain.
    pub fn forced(&mut self, text: &[u32]) -> Result<Vec<u32>> {
        if self.go_to(text)? && !self.matcher.is_stopped() {
            return Ok(self.matcher.compute_ff_tokens());
        }
        Ok(Vec::new())
    }

    /// Goes to the end of a text, or as far as it is of this form; `false`: not to its end.
    fn go_to(&mut self, text: &[u32]) -> Result<bool> {
        let pairs = self.taken.iter().zip(text);
        let shared = pairs.take_while(|(taken, wanted)| taken == wanted).count();
        let back = self.taken.len() - shared;
        if back > 0 {
            self.matcher.rollback(back).map_err(failed)?;
            self.taken.truncate(shared);
        }
        let onward = &text[shared..];
        // Behind its end a form goes on with nothing.
        let consumed = match self.matcher.is_stopped() {
            true => 0,
            false => self.matcher.try_consume_tokens(onward).map_err(failed)?,
        };
        self.taken.extend(&onward[..consumed]);
        Ok(consumed == onward.len())
    }
}

impl Clone for Grammar {
    /// With caches of its own: clones are used in different places at once.
    fn clone(&self) -> Self {
        Self {
            matcher: self.matcher.deep_clone(),
            taken: self.taken.clone(),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Compute(format!("following the response_format: {error}"))
}
