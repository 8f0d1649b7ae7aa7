//! Grammars of response formats: which tokens may follow a text.

mod schema;

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::response_format::ResponseFormat;
use crate::text::spec::{TokenizerSpec, guarded};

/// Longer formats (as JSON) are rejected: compiling is recursive.
const MAX_FORMAT_BYTES: usize = 200_000;

/// The compiling thread's stack: enough for a format of that length at any depth of nesting. Only used pages take memory.
const STACK_BYTES: usize = 1 << 30;

/// The number of characters of a format, or of its error, that a message shows.
const MAX_EXCERPT_CHARS: usize = 300;

/// White space between JSON tokens: one space, or one or two line breaks with an indentation (llama.cpp's rule). If
/// white space were unlimited, small models would repeat it forever.
const WHITE_SPACE: &str = r"\x20|(\r?\n){1,2}[\x20\t]{0,20}";

/// The largest vocabulary that is indexed.
const MAX_TOKENS: usize = 1 << 22;

/// Compiles response formats into grammars over a tokenizer's tokens.
pub(super) struct GrammarCompiler(ParserFactory);

impl GrammarCompiler {
    /// Indexes all tokens by their bytes; takes a moment for a large vocabulary.
    pub(super) fn new(spec: &Arc<TokenizerSpec>) -> Result<Self> {
        let vocabulary = spec.tokenizer.get_vocab(true);
        let highest = vocabulary.values().copied().max().unwrap_or(0);
        let size = (highest as usize + 1).min(MAX_TOKENS);
        let eos = spec.eos.iter().copied();
        let eos: Vec<u32> = eos.filter(|id| (*id as usize) < size).collect();
        let Some(first_eos) = eos.first() else {
            let reason =
                "a response_format needs an end-of-text token, which its tokenizer doesn't have";
            return Err(Error::unsupported("the target", reason));
        };
        let words = (0..size as u32).map(|id| spelling(spec, id));
        let words: Vec<Vec<u8>> = words.collect::<Result<_>>()?;
        let built = guarded(|| {
            let info = TokRxInfo::new(size as u32, *first_eos);
            let trie = TokTrie::from(&info, &words).with_eos_tokens(&eos);
            let spec = spec.clone();
            let environment: TokEnv = Arc::new(Environment { trie, spec });
            let slices = SlicedBiasComputer::general_slices();
            let capabilities = InferenceCapabilities::default();
            Ok(ParserFactory::new(&environment, capabilities, &slices)?)
        });
        let mut factory = built.map_err(Error::Compute)?;
        factory.quiet().limits_mut().verbose_errors = false;
        Ok(Self(factory))
    }

    /// The grammar of a format; an error says what is wrong with it.
    pub(super) fn compile(&self, format: &ResponseFormat) -> Result<Grammar> {
        let shown = format.to_json().to_string();
        let invalid = |reason: &str| {
            let expected = format!("a format that compiles: {}", excerpt(reason));
            Error::invalid("response_format", excerpt(&shown), expected)
        };
        if shown.len() > MAX_FORMAT_BYTES {
            return Err(invalid(&format!(
                "it is longer than {MAX_FORMAT_BYTES} bytes"
            )));
        }
        let matcher = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            let compiling = thread.spawn_scoped(scope, || {
                let parser = self.0.create_parser(grammar_of(format));
                Matcher::new(parser)
            });
            let compiling = compiling.map_err(|error| error.to_string())?;
            let panicked = |_| "compiling it failed".to_owned();
            compiling.join().map_err(panicked)
        });
        let matcher = matcher.map_err(|reason| invalid(&reason))?;
        match matcher.get_error() {
            Some(reason) => Err(invalid(&reason)),
            None => Ok(Grammar {
                start: matcher.deep_clone(),
                matcher,
                consumed: Vec::new(),
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

/// The grammar of a JSON schema. The schema's own white space options for llguidance take precedence over [`WHITE_SPACE`].
fn json_of(mut schema: Value) -> TopLevelGrammar {
    schema::simplify(&mut schema);
    if let Some(schema) = schema.as_object_mut() {
        let options = schema.entry("x-guidance").or_insert_with(|| json!({}));
        let given =
            ["whitespace_pattern", "whitespace_flexible"].map(|name| options.get(name).is_some());
        if let (Some(options), [false, false]) = (options.as_object_mut(), given) {
            options.insert("whitespace_pattern".into(), WHITE_SPACE.into());
        }
    }
    TopLevelGrammar::from_json_schema(schema)
}

/// The start of a text, on one line.
fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_EXCERPT_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// A token's bytes; a special token's are marked, so that no text matches them.
fn spelling(spec: &TokenizerSpec, id: u32) -> Result<Vec<u8>> {
    let added = spec.tokenizer.get_added_vocabulary();
    let token = spec.tokenizer.id_to_token(id);
    let special = |token: &String| spec.eos.contains(&id) || added.is_special_token(token);
    match token.filter(special) {
        Some(token) => Ok([&[TokTrie::SPECIAL_TOKEN_MARKER], token.as_bytes()].concat()),
        None => spec.bytes(id, false, false),
    }
}

/// The tokenizer, with llguidance's interface.
struct Environment {
    trie: TokTrie,
    spec: Arc<TokenizerSpec>,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let encode = |text: &str| {
            let encoding = guarded(|| self.spec.tokenizer.encode_fast(text, false));
            let tokens = encoding.map(|encoding| encoding.get_ids().to_vec());
            // Some tokenizers add a space before every text.
            let spells = |tokens: &Vec<u32>| self.trie.decode_raw(tokens) == text.as_bytes();
            let exact = tokens.ok().filter(spells);
            exact.unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
        };
        self.trie.tokenize_with_greedy_fallback(bytes, encode)
    }
}

/// A response format's grammar at a position of a text.
pub struct Grammar {
    /// Before any token.
    start: Matcher,
    matcher: Matcher,
    /// The tokens up to this position.
    consumed: Vec<u32>,
}

/// Tokens that may follow.
#[derive(Debug, PartialEq)]
pub struct AllowedTokens(SimpleVob);

impl AllowedTokens {
    /// Sets the logits of all other tokens to negative infinity.
    pub fn apply(&self, logits: &mut [f32]) {
        for (token, logit) in logits.iter_mut().enumerate() {
            if token >= self.0.len() || !self.0.get(token) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

impl Grammar {
    /// The tokens that may follow a text and its drafted tokens. At the format's end, and after drafted tokens that violate
    /// it (they will be rejected), only EOS tokens; a text that violates it is an error.
    pub fn allowed(&mut self, text: &[u32], drafted: &[u32]) -> Result<AllowedTokens> {
        let mask = match self.go_to(&[text, drafted].concat())? {
            true => self.matcher.compute_mask_or_eos(),
            false if drafted.is_empty() => {
                let reason = format!("the {} tokens so far violate it", text.len());
                return Err(failed(reason));
            }
            false => {
                let tokens = self.matcher.tok_env();
                tokens.map(|tokens| tokens.tok_trie().eos_token_set())
            }
        };
        mask.map(AllowedTokens).map_err(failed)
    }

    /// Whether a text is of this format, or a prefix of such a text.
    pub fn permits(&mut self, text: &[u32]) -> Result<bool> {
        self.go_to(text)
    }

    /// The fast-forward tokens: those that must follow a text.
    pub fn forced(&mut self, text: &[u32]) -> Result<Vec<u32>> {
        if self.go_to(text)? && !self.matcher.is_stopped() {
            return Ok(self.matcher.compute_ff_tokens());
        }
        Ok(Vec::new())
    }

    /// Advances to the end of a text, or to the first token that violates the format; in that case it returns `false`.
    fn go_to(&mut self, text: &[u32]) -> Result<bool> {
        let pairs = self.consumed.iter().zip(text);
        let shared = pairs
            .take_while(|(consumed, token)| consumed == token)
            .count();
        if shared < self.consumed.len() {
            self.go_back_to(shared)?;
        }
        let onward = &text[shared..];
        // Nothing follows the format's end, and ids beyond the vocabulary are never allowed.
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
        self.consumed.extend(&onward[..consumed]);
        Ok(consumed == onward.len())
    }

    fn go_back_to(&mut self, length: usize) -> Result<()> {
        let back = self.consumed.len() - length;
        self.consumed.truncate(length);
        if self.matcher.rollback(back).is_ok() {
            // The last mask is cached by position alone, so it may belong to another text.
            self.matcher.invalidate_bias_cache();
            return Ok(());
        }
        // Some rules of Lark (`max_tokens`, `stop`) cannot be rolled back.
        self.matcher = self.start.deep_clone();
        self.matcher.consume_tokens(&self.consumed).map_err(failed)
    }
}

impl Clone for Grammar {
    /// A clone has its own caches, since clones are used concurrently.
    fn clone(&self) -> Self {
        Self {
            start: self.start.deep_clone(),
            matcher: self.matcher.deep_clone(),
            consumed: self.consumed.clone(),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    let reason = excerpt(&error.to_string());
    Error::Compute(format!("following the response_format: {reason}"))
}
