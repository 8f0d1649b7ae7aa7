//! Grammars of response formats: which tokens may follow a text.

mod bounds;
mod divisors;
mod schema;
mod watchdog;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};
use llguidance::{Matcher, ParserFactory, TokenParser};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::panics::Caught;
use crate::prefix;
use crate::response_format::ResponseFormat;
use crate::text::spec::{TokenizerSpec, guarded};
use crate::threads;
use watchdog::Watch;

/// The compiling thread's stack: enough for the longest format at any depth of nesting. Only used pages take memory.
const STACK_BYTES: usize = 1 << 30;

/// The number of characters of a format, or of its error, that a message shows.
const MAX_EXCERPT_CHARS: usize = 300;

/// White space between JSON tokens: one space, or one or two line breaks with an indentation (llama.cpp's rule). If
/// white space were unlimited, small models would repeat it forever.
const WHITE_SPACE: &str = r"\x20|(\r?\n){1,2}[\x20\t]{0,20}";

/// States of a grammar's lexer, with one or two kilobytes each.
const MAX_LEXER_STATES: usize = 50_000;

/// The number of compiled grammars that are kept.
const MAX_RECENT: usize = 8;

/// The largest vocabulary that is indexed.
const MAX_TOKENS: usize = 1 << 22;

/// Compiles response formats into grammars over a tokenizer's tokens.
pub(super) struct GrammarCompiler {
    factory: ParserFactory,
    /// The latest formats and their grammars, the newest first.
    recent: Mutex<VecDeque<(String, Arc<Grammar>)>>,
}

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
        let limits = factory.quiet().limits_mut();
        limits.verbose_errors = false;
        limits.max_lexer_states = MAX_LEXER_STATES;
        Ok(Self {
            factory,
            recent: Mutex::default(),
        })
    }

    /// The grammar of a format; an error says what is wrong with it. A request's choices, and requests with the same format,
    /// share the work.
    pub(super) fn compile(&self, format: &ResponseFormat) -> Result<Grammar> {
        let text = format.to_json().to_string();
        if let Some(known) = self.known(&text) {
            return Ok(Grammar::clone(&known));
        }
        let grammar = Arc::new(self.compile_new(format, &text)?);
        let mut recent = self.recent();
        recent.truncate(MAX_RECENT - 1);
        recent.push_front((text, grammar.clone()));
        drop(recent);
        Ok(Grammar::clone(&grammar))
    }

    /// Whether a format is compiled already.
    #[cfg(feature = "server")]
    pub(super) fn knows(&self, format: &ResponseFormat) -> bool {
        self.known(&format.to_json().to_string()).is_some()
    }

    fn known(&self, text: &str) -> Option<Arc<Grammar>> {
        let recent = self.recent();
        let known = recent.iter().find(|(known, _)| known == text);
        known.map(|(_, grammar)| grammar.clone())
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<(String, Arc<Grammar>)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile_new(&self, format: &ResponseFormat, shown: &str) -> Result<Grammar> {
        let invalid = |reason: &str| {
            let kind = match format {
                ResponseFormat::Regex(_) => "a regular expression",
                ResponseFormat::Lark(_) => "a grammar",
                ResponseFormat::JsonSchema(_) => "a schema",
                ResponseFormat::JsonObject => "a form of objects",
            };
            let expected = format!("{kind} that compiles: {}", excerpt(essence(reason)));
            Error::invalid("response_format", excerpt(shown), expected)
        };
        format.check_length()?;
        bounds::check(format).map_err(|reason| invalid(&reason))?;
        let compiled = threads::with_stack(STACK_BYTES, || {
            threads::yield_to_others();
            let parser = self.factory.create_parser(grammar_of(format));
            let can_roll_back = parser.as_ref().is_ok_and(can_roll_back);
            (Matcher::new(parser).into_cancellable(), can_roll_back)
        });
        let compiled = compiled.map_err(|error| invalid(&error.to_string()))?;
        let (matcher, can_roll_back) = compiled.map_err(|Caught(panic)| {
            tracing::debug!("compiling a response format: {panic}");
            invalid("compiling it failed")
        })?;
        match matcher.get_error() {
            Some(reason) => Err(invalid(&reason)),
            None => Ok(Grammar {
                start: matcher.deep_clone(),
                matcher,
                consumed: Vec::new(),
                can_roll_back,
                shown: excerpt(shown).into(),
            }),
        }
    }
}

/// Whether the parser can forget tokens. It cannot where a lexeme counts its tokens or ends as soon as it can (in Lark,
/// `max_tokens`, `stop`, `suffix` and `lazy`): what it allows then depends on more than the text.
fn can_roll_back(parser: &TokenParser) -> bool {
    let lexemes = parser.parser.grammar().lexer_spec();
    lexemes.can_rollback() && lexemes.lazy_lexemes().is_empty()
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

/// What a regular expression's error says, without the drawing that points at the place.
fn essence(reason: &str) -> &str {
    let mut lines = reason.lines().map(str::trim);
    lines
        .find_map(|line| line.strip_prefix("error: "))
        .unwrap_or(reason)
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
    can_roll_back: bool,
    /// The format, for errors.
    shown: Arc<str>,
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
    /// Whether the grammar can go back to an earlier position, as drafts need it. If not, only plain decoding follows it.
    pub fn can_roll_back(&self) -> bool {
        self.can_roll_back
    }

    /// The tokens that may follow a text and its drafted tokens. At the format's end, and after drafted tokens that violate
    /// it (they will be rejected), only EOS tokens; a text that violates it is an error.
    pub fn allowed(&mut self, text: &[u32], drafted: &[u32]) -> Result<AllowedTokens> {
        let _watch = self.watch();
        let mask = match self.go_to(&[text, drafted].concat())? {
            true => self.matcher.compute_mask_or_eos(),
            false if drafted.is_empty() => {
                // What looks like a violation may be the parser's own failure, which the mask tells.
                let reason = match self.matcher.compute_mask_or_eos() {
                    Ok(_) => format!("the {} tokens so far violate it", text.len()),
                    Err(error) => error.to_string(),
                };
                return Err(self.failed(reason));
            }
            false => {
                let tokens = self.matcher.tok_env();
                tokens.map(|tokens| tokens.tok_trie().eos_token_set())
            }
        };
        mask.map(AllowedTokens).map_err(|error| self.failed(error))
    }

    /// Whether a text is of this format, or a prefix of such a text. Not of one that the parser fails at; after it, it starts
    /// anew.
    pub fn permits(&mut self, text: &[u32]) -> bool {
        if self.matcher.is_error() {
            self.matcher = self.start.deep_clone();
            self.consumed.clear();
        }
        let _watch = self.watch();
        self.go_to(text).unwrap_or(false)
    }

    /// Has the parser's work end in any case.
    fn watch(&self) -> Option<Watch> {
        self.matcher.cancellation_handle().map(Watch::start)
    }

    /// The fast-forward tokens: those that must follow a text.
    pub fn forced(&mut self, text: &[u32]) -> Vec<u32> {
        let permitted = self.permits(text) && !self.matcher.is_stopped();
        let _watch = self.watch();
        match permitted {
            true => self.matcher.compute_ff_tokens(),
            false => Vec::new(),
        }
    }

    /// Advances to the end of a text, or to the first token that violates the format; in that case it returns `false`.
    fn go_to(&mut self, text: &[u32]) -> Result<bool> {
        let shared = prefix::shared(&self.consumed, text);
        if shared < self.consumed.len() {
            self.go_back_to(shared)?;
        }
        let onward = &text[shared..];
        // Nothing follows the format's end, and ids beyond the vocabulary are never allowed.
        let known = match self.matcher.is_stopped() {
            true => 0,
            false => {
                let tokens = self.matcher.tok_env().map_err(|error| self.failed(error))?;
                let size = tokens.tok_trie().vocab_size();
                let unknown = onward.iter().position(|token| *token as usize >= size);
                unknown.unwrap_or(onward.len())
            }
        };
        let consumed = match known {
            0 => 0,
            _ => {
                let consumed = self.matcher.try_consume_tokens(&onward[..known]);
                consumed.map_err(|error| self.failed(error))?
            }
        };
        self.consumed.extend(&onward[..consumed]);
        Ok(consumed == onward.len())
    }

    fn go_back_to(&mut self, length: usize) -> Result<()> {
        let back = self.consumed.len() - length;
        self.consumed.truncate(length);
        if self.can_roll_back && self.matcher.rollback(back).is_ok() {
            // The last mask is cached by position alone, so it may belong to another text.
            self.matcher.invalidate_bias_cache();
            return Ok(());
        }
        self.matcher = self.start.deep_clone();
        let consumed = self.matcher.consume_tokens(&self.consumed);
        consumed.map_err(|error| self.failed(error))
    }

    /// The parser cannot follow the format: it is too complex, or has a fault of its own.
    fn failed(&self, error: impl std::fmt::Display) -> Error {
        let reason = match self.matcher.is_cancelled() {
            true => "it takes the parser too long".to_owned(),
            false => excerpt(&error.to_string()),
        };
        let expected = format!("a format that can be followed: {reason}");
        Error::invalid("response_format", &self.shown, expected)
    }
}

impl Clone for Grammar {
    /// A clone has its own caches, since clones are used concurrently.
    fn clone(&self) -> Self {
        Self {
            start: self.start.deep_clone(),
            matcher: self.matcher.deep_clone(),
            consumed: self.consumed.clone(),
            can_roll_back: self.can_roll_back,
            shown: self.shown.clone(),
        }
    }
}
