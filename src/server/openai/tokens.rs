//! `/tokenize` and `/detokenize`, as in vLLM and llama.cpp.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::content::ChatMessage;

/// A text, or a conversation.
#[derive(Debug, Deserialize)]
pub(in crate::server) struct TokenizeRequest {
    #[serde(default)]
    pub(in crate::server) content: Option<String>,
    /// vLLM's name for `content`.
    #[serde(default)]
    pub(in crate::server) prompt: Option<String>,
    #[serde(default)]
    pub(in crate::server) messages: Option<Vec<ChatMessage>>,
    #[serde(default)]
    add_special_tokens: Option<bool>,
    /// llama.cpp's name for it.
    #[serde(default)]
    add_special: Option<bool>,
}

impl TokenizeRequest {
    /// Whether the tokens that the model expects around a text are added.
    pub(in crate::server) fn adds_special_tokens(&self) -> bool {
        self.add_special_tokens.or(self.add_special).unwrap_or(true)
    }
}

/// Written by hand, since one of three fields is required.
impl JsonSchema for TokenizeRequest {
    fn schema_name() -> Cow<'static, str> {
        "TokenizeRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let message = generator.subschema_for::<ChatMessage>();
        let flag = json_schema!({"type": ["boolean", "null"]});
        json_schema!({
            "anyOf": [
                {
                    "type": "object",
                    "required": ["content"],
                    "properties": {
                        "content": {"type": "string", "description": "A text, by llama.cpp's name."},
                        "add_special_tokens": flag,
                        "add_special": flag,
                        "model": {},
                        "messages": {"type": "null"},
                        "prompt": {"type": "null"},
                    },
                },
                {
                    "type": "object",
                    "required": ["prompt"],
                    "properties": {
                        "prompt": {"type": "string", "description": "A text, by vLLM's name."},
                        "add_special_tokens": flag,
                        "add_special": flag,
                        "model": {},
                        "messages": {"type": "null"},
                        "content": {"type": "null"},
                    },
                },
                {
                    "type": "object",
                    "required": ["messages"],
                    "properties": {
                        "messages": {"type": "array", "minItems": 1, "items": message},
                        "add_special_tokens": flag,
                        "add_special": flag,
                        "model": {},
                        "content": {"type": "null"},
                        "prompt": {"type": "null"},
                    },
                },
            ],
        })
    }
}

/// Tokens to decode.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::server) struct DetokenizeRequest {
    pub(in crate::server) tokens: Vec<u32>,
    #[serde(default)]
    pub(in crate::server) skip_special_tokens: Option<bool>,
    /// Ignored: the server has one model.
    #[serde(default, rename = "model")]
    _model: Option<String>,
}

/// The tokens of a text.
#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct TokenList {
    pub(in crate::server) tokens: Vec<u32>,
    pub(in crate::server) count: usize,
    /// The maximum number of tokens of prompt and answer together.
    pub(in crate::server) max_model_len: usize,
}

/// The text of some tokens, by llama.cpp's name and by vLLM's.
#[derive(Serialize, JsonSchema)]
pub(in crate::server) struct Text {
    pub(in crate::server) content: String,
    pub(in crate::server) prompt: String,
}
