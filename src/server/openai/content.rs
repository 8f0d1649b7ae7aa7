//! Messages, and texts that may come in parts.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::server::error::ApiError;
use crate::text::Message;

/// A message of a conversation: an object, whose fields all reach the model's chat template.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(in crate::server) struct ChatMessage(Map<String, Value>);

impl JsonSchema for ChatMessage {
    fn schema_name() -> Cow<'static, str> {
        "Message".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let content = generator.subschema_for::<Content>();
        json_schema!({
            "type": "object",
            "description": "All fields reach the model's chat template: tool_calls, reasoning_content, name, ...",
            "required": ["role"],
            "properties": {
                "role": {"type": "string", "minLength": 1},
                "content": {"anyOf": [content, {"type": "null"}]},
            },
        })
    }
}

/// A conversation's messages, as chat templates take them.
pub(in crate::server) fn messages(messages: Vec<ChatMessage>) -> Result<Vec<Message>, ApiError> {
    let messages = messages.into_iter().enumerate();
    messages
        .map(|(index, ChatMessage(fields))| {
            Message::try_from(fields).map_err(|error| within(&format!("messages[{index}]"), error))
        })
        .collect()
}

/// The error of a part, which names the whole too.
fn within(whole: &str, error: Error) -> ApiError {
    match error {
        Error::InvalidConfig {
            field,
            value,
            expected,
        } => Error::invalid(format!("{whole}.{field}"), value, expected).into(),
        error => error.into(),
    }
}

/// A text, or parts that are texts.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a string, or a list of {\"type\": \"text\", \"text\": ...}"
)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Value>),
}

/// Written by hand, since parts of other types are parsed only to name them in an error.
impl JsonSchema for Content {
    fn schema_name() -> Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text_of = |types: &[&str], field: &str| {
            json_schema!({
                "type": "object",
                "required": ["type", field],
                "properties": {"type": {"enum": types}, field: {"type": "string"}},
            })
        };
        json_schema!({
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"anyOf": [
                    {"type": "string"},
                    text_of(&["text", "input_text", "output_text"], "text"),
                    text_of(&["refusal"], "refusal"),
                ]}},
            ],
        })
    }
}

impl Content {
    /// The whole text; an error names the field.
    pub(super) fn into_text(self, field: &str) -> Result<String, ApiError> {
        let content = match self {
            Self::Text(text) => return Ok(text),
            Self::Parts(parts) => parts,
        };
        let fields = [("role", "user".into()), ("content", content.into())];
        let fields = fields.map(|(name, value): (&str, Value)| (name.to_owned(), value));
        let message = Message::try_from(Map::from_iter(fields));
        Ok(message.map_err(|error| within(field, error))?.text())
    }
}
