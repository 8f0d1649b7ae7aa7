//! `/v1/completions`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::number::Count;
use super::respond::{Format, Object, Spelling, finite};
use crate::engine;
use crate::server::error::ApiError;

/// The maximum number of prompts of one request.
pub(in crate::server) const MAX_PROMPTS: usize = 128;

/// Texts to continue.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::server) struct CompletionRequest {
    pub(in crate::server) prompt: PromptField,
    /// Report each token's log-probability, and those of this many most probable alternatives.
    #[serde(default)]
    #[schemars(range(max = 20))]
    pub(in crate::server) logprobs: Option<Count>,
    /// Start the answer with the prompt.
    #[serde(default)]
    pub(in crate::server) echo: Option<bool>,
    /// Not supported: only an empty suffix is accepted.
    #[serde(default)]
    #[schemars(length(max = 0))]
    suffix: Option<String>,
    /// At most `n`: no more answers are generated than are returned.
    #[serde(default)]
    best_of: Option<Count>,
}

/// One prompt or several, each a text or tokens.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a string, a list of strings, a list of token ids, or a list of those"
)]
pub(in crate::server) enum PromptField {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

/// Written by hand, since lists are bounded.
impl JsonSchema for PromptField {
    fn schema_name() -> Cow<'static, str> {
        "Prompt".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let tokens = json_schema!({
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            "minItems": 1,
        });
        json_schema!({
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "items": {"type": "string"},
                    "minItems": 1,
                    "maxItems": MAX_PROMPTS,
                },
                tokens,
                {"type": "array", "items": tokens, "minItems": 1, "maxItems": MAX_PROMPTS},
            ],
        })
    }
}

impl CompletionRequest {
    /// Rejects what is not supported.
    pub(in crate::server) fn check(&self, choices: usize) -> Result<(), ApiError> {
        let suffix = self.suffix.as_ref();
        if suffix.is_some_and(|suffix| !suffix.is_empty()) {
            let message = "suffix (fill-in-the-middle) is not supported: texts are continued only at their end";
            return Err(ApiError::invalid("suffix", message));
        }
        if self.best_of.is_some_and(|Count(best)| best > choices) {
            let message = "best_of greater than n is not supported";
            return Err(ApiError::invalid("best_of", message));
        }
        if self.echo.unwrap_or(false) && self.logprobs.is_some() {
            let message = "echo with logprobs: the prompt's own log-probabilities are not computed";
            return Err(ApiError::invalid("echo", message));
        }
        Ok(())
    }
}

/// Completions.
pub(in crate::server) struct Completion;

#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct CompletionContent {
    text: String,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct CompletionLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    /// The most probable alternatives to each token, by their texts; by `token_id:ID` where a text stands for another token already.
    top_logprobs: Vec<Map<String, Value>>,
    /// The position of each token in the text, in characters.
    text_offset: Vec<usize>,
}

impl Format for Completion {
    const ID_PREFIX: &'static str = "cmpl-";
    const OBJECT: Object = Object::TextCompletion;
    const CHUNK_OBJECT: Object = Object::TextCompletion;

    type Content = CompletionContent;
    type Delta = CompletionContent;
    type Logprobs = CompletionLogprobs;

    fn content(echoed: &str, text: &str) -> CompletionContent {
        CompletionContent {
            text: format!("{echoed}{text}"),
        }
    }

    fn first(echoed: &str) -> Option<CompletionContent> {
        (!echoed.is_empty()).then(|| Self::delta(echoed))
    }

    fn delta(text: &str) -> CompletionContent {
        CompletionContent {
            text: text.to_owned(),
        }
    }

    fn last() -> CompletionContent {
        Self::delta("")
    }

    fn logprobs(
        spelling: &Spelling,
        tokens: &[engine::Token],
        offset: &mut usize,
    ) -> CompletionLogprobs {
        let top = tokens.iter().map(|token| {
            let mut by_text = Map::new();
            for (id, logprob) in &token.top_logprobs {
                let text = match spelling.text(*id) {
                    // Tokens may share a text, such as parts of a character.
                    text if by_text.contains_key(&text) => format!("token_id:{id}"),
                    text => text,
                };
                by_text.insert(text, finite(Some(*logprob)).into());
            }
            by_text
        });
        let offsets = tokens.iter().map(|token| {
            let start = *offset;
            *offset += token.text.chars().count();
            start
        });
        CompletionLogprobs {
            text_offset: offsets.collect(),
            tokens: tokens.iter().map(|token| spelling.text(token.id)).collect(),
            token_logprobs: tokens.iter().map(|token| finite(token.logprob)).collect(),
            top_logprobs: top.collect(),
        }
    }
}
