//! Messages of a conversation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// One message: an object with a role, whose fields all reach the chat template.
///
/// ```
/// use specdec_rs::Message;
/// let message = Message::new("user", "Hello!").with("name", "Ann");
/// assert_eq!((message.role(), message.text()), ("user", "Hello!".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Message {
    pub(super) fields: Map<String, Value>,
}

impl Message {
    /// A message whose content is a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let fields = [("role", role.into()), ("content", content.into())];
        Self {
            fields: fields
                .map(|(name, text)| (name.to_owned(), text.into()))
                .into_iter()
                .collect(),
        }
    }

    /// The same message with another field.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// A message out of an object: `role` is a text; `content`, where there is any, a text, null, or a list of parts, each of
    /// which is an object with a `type`.
    pub fn from_json(value: Value) -> Result<Self> {
        let Value::Object(fields) = value else {
            let expected = r#"an object, as {"role": "user", "content": "Hello!"}"#;
            return Err(Error::invalid("messages", value, expected));
        };
        Self::try_from(fields)
    }

    /// The speaker: "system", "user", "assistant", ...
    pub fn role(&self) -> &str {
        self.fields["role"].as_str().unwrap_or_default()
    }

    /// Whether the message says nothing: its content is missing or null.
    pub(super) fn is_without_content(&self) -> bool {
        self.fields.get("content").is_none_or(Value::is_null)
    }

    /// The content's text; that of several parts is joined by line breaks.
    pub fn text(&self) -> String {
        match self.fields.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                let texts = parts.iter().filter_map(|part| part["text"].as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        }
    }
}

impl TryFrom<Map<String, Value>> for Message {
    type Error = Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self> {
        match fields.get("role") {
            Some(Value::String(role)) if !role.is_empty() => {}
            other => {
                let role = other.unwrap_or(&Value::Null);
                let expected = "a text, such as \"system\", \"user\" or \"assistant\"";
                return Err(Error::invalid("role", role, expected));
            }
        }
        match fields.get_mut("content") {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(Value::Array(parts)) => {
                for (index, part) in parts.iter_mut().enumerate() {
                    *part = text_part(index, part)?;
                }
            }
            Some(other) => {
                let expected = r#"a text, null, or a list of {"type": "text", "text": ...}"#;
                return Err(Error::invalid("content", other, expected));
            }
        }
        Ok(Self { fields })
    }
}

impl From<Message> for Map<String, Value> {
    fn from(message: Message) -> Self {
        message.fields
    }
}

/// A part of a content as a template takes it. Parts that are not text are refused: the models that run here read only text.
fn text_part(index: usize, part: &Value) -> Result<Value> {
    let refuse = |found: &Value, expected: &str| {
        Err(Error::invalid(format!("content[{index}]"), found, expected))
    };
    // A text alone is a part in templates' own examples.
    if part.is_string() {
        return Ok(serde_json::json!({"type": "text", "text": part}));
    }
    match part["type"].as_str() {
        // By the names of OpenAI's two APIs.
        Some("text" | "input_text" | "output_text") if part["text"].is_string() => {
            let mut part = part.clone();
            part["type"] = "text".into();
            Ok(part)
        }
        Some("refusal") if part["refusal"].is_string() => {
            Ok(serde_json::json!({"type": "text", "text": part["refusal"]}))
        }
        Some("text" | "input_text" | "output_text") => refuse(part, "a part with a `text`"),
        Some(kind) => {
            let expected = format!("type \"text\": parts of type {kind:?} are not supported");
            refuse(part, &expected)
        }
        None => refuse(part, r#"{"type": "text", "text": ...}"#),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_kept() {
        let value = json!({"role": "tool", "tool_call_id": "1", "content": null, "name": "clock"});
        let message = Message::from_json(value.clone()).unwrap();
        assert_eq!(serde_json::to_value(&message).unwrap(), value);
        assert_eq!((message.role(), message.text()), ("tool", String::new()));
    }

    #[test]
    fn parts_are_texts() {
        let content =
            json!(["a", {"type": "input_text", "text": "b"}, {"type": "refusal", "refusal": "c"}]);
        let message = Message::from_json(json!({"role": "user", "content": content})).unwrap();
        assert_eq!(message.text(), "a\nb\nc");
    }

    #[test]
    fn what_is_no_message_is_refused_by_name() {
        for (value, named) in [
            (json!("hi"), "messages"),
            (json!({"content": "hi"}), "role"),
            (json!({"role": 1, "content": "hi"}), "role"),
            (json!({"role": "user", "content": 1}), "content"),
            (
                json!({"role": "user", "content": [{"type": "image_url"}]}),
                "\"image_url\" are not supported",
            ),
            (
                json!({"role": "user", "content": [{"type": "text"}]}),
                "content[0]",
            ),
            (json!({"role": "user", "content": [{}]}), "content[0]"),
        ] {
            let message = Message::from_json(value.clone()).unwrap_err().to_string();
            assert!(message.contains(named), "{value}: {message}");
        }
    }
}
