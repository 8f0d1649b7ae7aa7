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

/// Forms longer than this (as JSON) are refused: compiling recurses into them.
const LONGEST_FORM: usize = 200_000;

/// Enough for a form of that length, however deeply its parts lie within each other. Only what is used takes memory.
const STACK: usize = 1 << 30;

/// Characters of a form, or of what is wrong with it, that an error shows.
const SHOWN: usize = 300;

/// Where JSON may have white space, a blank, or one or two line breaks and an indentation (llama.cpp's rule): more of it is
/// what small models get lost in.
const WHITE_SPACE: &str = r"\x20|(\r?\n){1,2}[\x20\t]{0,20}";

/// Most ids that a vocabulary is spelled out for.
const MOST_TOKENS: usize = 1 << 22;

/// Turns forms into grammars over a tokenizer's tokens.
pub(super) struct GrammarCompiler(ParserFactory);

impl GrammarCompiler {
    /// Spells out all tokens: takes a moment for a large vocabulary.
    pub(super) fn new(parts: &Arc<Parts>) -> Result<Self> {
        let vocabulary = parts.tokenizer.get_vocab(true);
        let highest = vocabulary.values().copied().max().unwrap_or(0);
        let size = (highest as usize + 1).min(MOST_TOKENS);
        let eos = parts.eos.iter().copied();
        let eos: Vec<u32> = eos.filter(|id| (*id as usize) < size).collect();
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
        factory.quiet().limits_mut().verbose_errors = false;
        Ok(Self(factory))
    }

    /// The grammar of a form; an error says what is wrong with it.
    pub(super) fn compile(&self, format: &ResponseFormat) -> Result<Grammar> {
        let shown = format.to_json().to_string();
        let wrong = |reason: &str| {
            let expected = format!("a form that can be compiled: {}", beginning(reason));
            Error::invalid("response_format", beginning(&shown), expected)
        };
        if shown.len() > LONGEST_FORM {
            return Err(wrong(&format!("it is longer than {LONGEST_FORM} bytes")));
        }
        let matcher = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK);
            let compiling = thread.spawn_scoped(scope, || {
                let parser = self.0.create_parser(grammar_of(format));
                Matcher::new(parser)
            });
            let compiling = compiling.map_err(|error| error.to_string())?;
            let panicked = |_| "compiling it failed".to_owned();
            compiling.join().map_err(panicked)
        });
        let matcher = matcher.map_err(|reason| wrong(&reason))?;
        match matcher.get_error() {
            Some(reason) => Err(wrong(&reason)),
            None => Ok(Grammar {
                start: matcher.deep_clone(),
                matcher,
                taken: Vec::new(),
            }),
        }
    }
}

fn grammar_of(format: &ResponseFormat) -> TopLevelGrammar {
    match format {
        ResponseFormat::JsonObject => json_of(json!({"type": "object"})),
        ResponseFormat::JsonSchema(schema) => json_of(schema.clone()),
        ResponseFormat::Regex(regex) => TopLevelGrammar::from_regex(regex),
        ResponseFormat::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
    }
}

/// JSON of a schema; what this says of white space to llguidance comes first.
fn json_of(mut schema: Value) -> TopLevelGrammar {
    if let Some(schema) = schema.as_object_mut() {
        let options = schema.entry("x-guidance").or_insert_with(|| json!({}));
        let said =
            ["whitespace_pattern", "whitespace_flexible"].map(|name| options.get(name).is_some());
        if let (Some(options), [false, false]) = (options.as_object_mut(), said) {
            options.insert("whitespace_pattern".into(), WHITE_SPACE.into());
        }
    }
    TopLevelGrammar::from_json_schema(schema)
}

/// A text on one line, and not too much of it.
fn beginning(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// A token's bytes; those of tokens that are no text are marked, so that no text is mistaken for them.
fn spelling(parts: &Parts, id: u32) -> Result<Vec<u8>> {
    let added = parts.tokenizer.get_added_vocabulary();
    let token = parts.tokenizer.id_to_token(id);
    let special = |token: &String| parts.eos.contains(&id) || added.is_special_token(token);
    match token.filter(special) {
        Some(token) => Ok([&[TokTrie::SPECIAL_TOKEN_MARKER], token.as_bytes()].concat()),
        None => parts.bytes(id, false, false),
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
            let spells = |tokens: &Vec<u32>| self.trie.decode_raw(tokens) == text.as_bytes();
            let exact = tokens.ok().filter(spells);
            exact.unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
        };
        self.trie.tokenize_with_greedy_fallback(bytes, encode)
    }
}

/// A form, at some place of a text.
pub struct Grammar {
    /// Before any token.
    start: Matcher,
    matcher: Matcher,
    /// The tokens that led to this place.
    taken: Vec<u32>,
}

/// Tokens that may follow.
#[derive(Debug, PartialEq)]
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
    /// The tokens that may follow a text and drafted tokens behind it. Behind the form's end, and behind drafted tokens that
    /// leave it (which are in vain), those that end the text; a text itself that has left it is an error.
    pub fn allowed(&mut self, text: &[u32], drafted: &[u32]) -> Result<AllowedTokens> {
        let mask = match self.go_to(&[text, drafted].concat())? {
            true => self.matcher.compute_mask_or_eos(),
            false if drafted.is_empty() => {
                let left = format!("the {} tokens so far have left it", text.len());
                return Err(failed(left));
            }
            false => {
                let tokens = self.matcher.tok_env();
                tokens.map(|tokens| tokens.tok_trie().eos_token_set())
            }
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
        if shared < self.taken.len() {
            self.go_back_to(shared)?;
        }
        let onward = &text[shared..];
        // Behind its end a form goes on with nothing; and ids beyond the vocabulary are no tokens of any form.
        let known = match self.matcher.is_stopped() {
            true => 0,
            false => {
                let tokens = self.matcher.tok_env().map_err(failed)?;
                let size = tokens.tok_trie().vocab_size();
                let unknown = onward.iter().position(|token| *token as usize >= size);
                unknown.unwrap_or(onward.len())
            }
        };
        let consumed = match known {
            0 => 0,
            _ => self
                .matcher
                .try_consume_tokens(&onward[..known])
                .map_err(failed)?,
        };
        self.taken.extend(&onward[..consumed]);
        Ok(consumed == onward.len())
    }

    fn go_back_to(&mut self, length: usize) -> Result<()> {
        let back = self.taken.len() - length;
        self.taken.truncate(length);
        if self.matcher.rollback(back).is_ok() {
            // The last mask is remembered by its place alone, which another text may lead to.
            self.matcher.invalidate_bias_cache();
            return Ok(());
        }
        // Some rules of Lark's (`max_tokens`, `stop`) know no way back.
        self.matcher = self.start.deep_clone();
        self.matcher.consume_tokens(&self.taken).map_err(failed)
    }
}

impl Clone for Grammar {
    /// With caches of its own: clones are used in different places at once.
    fn clone(&self) -> Self {
        Self {
            start: self.start.deep_clone(),
            matcher: self.matcher.deep_clone(),
            taken: self.taken.clone(),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    let reason = beginning(&error.to_string());
    Error::Compute(format!("following the response_format: {reason}"))
}
