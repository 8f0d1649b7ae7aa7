//! Messages, and texts that may come in parts.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::server::error::ApiError;
use crate::text::Message;

/// A message of a conversation.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::server) struct ChatMessage {
    role: String,
    #[serde(default)]
    content: Option<Content>,
}

/// A message's content: a text, or parts that are texts.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a text, or a list of {\"type\": \"text\", \"text\": ...}"
)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// Written by hand, since parts of other types are parsed only to name them in an error.
impl JsonSchema for Content {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {
                    "type": "object",
                    "required": ["type", "text"],
                    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                }},
            ],
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

impl Content {
    /// The whole text; an error names the field.
    pub(super) fn into_text(self, field: &str) -> Result<String, ApiError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Parts(parts) => parts
                .into_iter()
                .map(|part| match (&part.kind[..], part.text) {
                    ("text", Some(text)) => Ok(text),
                    ("text", None) => Err(ApiError::invalid(
                        field,
                        "a part of type \"text\" without a text",
                    )),
                    (kind, _) => Err(ApiError::invalid(
                        field,
                        format!("a part of type {kind:?}: only \"text\" is supported"),
                    )),
                })
                .collect(),
        }
    }
}

/// A conversation's messages, as chat templates take them.
pub(in crate::server) fn messages(messages: Vec<ChatMessage>) -> Result<Vec<Message>, ApiError> {
    let messages = messages.into_iter().enumerate();
    messages
        .map(|(index, message)| {
            let field = format!("messages[{index}].content");
            let content = message.content.map(|content| content.into_text(&field));
            let content = content.transpose()?.unwrap_or_default();
            Ok(Message::new(message.role, content))
        })
        .collect()
}
