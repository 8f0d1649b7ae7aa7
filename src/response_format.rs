//! What an output must look like.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// A form that the output is held to: tokens that would leave it can't be chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    /// Any JSON object.
    JsonObject,
    /// JSON that a schema describes (<https://json-schema.org>).
    JsonSchema(Value),
    /// Text that a regular expression matches as a whole, in the syntax of Rust's `regex` crate.
    Regex(String),
    /// Text of a grammar, in llguidance's variant of Lark (<https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md>).
    Lark(String),
}

/// The longest format, as JSON.
const MAX_BYTES: usize = 200_000;

const EXPECTED: &str = r#"{"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": {...}}}, {"type": "regex", "regex": "..."}, {"type": "lark", "lark": "..."} or {"type": "text"}"#;

impl ResponseFormat {
    /// Exactly one of some texts.
    pub fn one_of(texts: impl IntoIterator<Item = String>) -> Self {
        let quoted = texts.into_iter().map(|text| Value::from(text).to_string());
        let choices = quoted.collect::<Vec<_>>().join(" | ");
        Self::Lark(format!("start: {choices}"))
    }

    /// Reads what OpenAI's API calls by this name, and the same for regular expressions and grammars; `None`: text.
    pub fn from_json(value: &Value) -> Result<Option<Self>> {
        // llama.cpp's place of a schema; Text Generation Inference calls both schemas and expressions `value`.
        let schema = value.get("schema").filter(|schema| !schema.is_null());
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let found = match value["type"].as_str() {
            Some("text") => return Ok(None),
            Some("json_object") => match schema.or_else(|| value.get("value")) {
                Some(schema) => Some(Self::JsonSchema(schema.clone())),
                None => Some(Self::JsonObject),
            },
            Some("json_schema") => value["json_schema"]
                .get("schema")
                .or(schema)
                .cloned()
                .map(Self::JsonSchema),
            Some("regex") => text("regex").or_else(|| text("value")).map(Self::Regex),
            Some("lark") => text("lark").map(Self::Lark),
            _ => None,
        };
        let wrong = || Error::invalid("response_format", value, EXPECTED);
        found.map(Some).ok_or_else(wrong)
    }

    /// Refuses a format that is too long: compiling is recursive.
    pub(crate) fn check_length(&self) -> Result<()> {
        let text = self.to_json().to_string();
        if text.len() <= MAX_BYTES {
            return Ok(());
        }
        let found = format!("a format of {} bytes", text.len());
        let expected = format!("at most {MAX_BYTES} bytes of JSON");
        Err(Error::invalid("response_format", found, expected))
    }

    /// What [`Self::from_json`] reads.
    pub fn to_json(&self) -> Value {
        match self {
            Self::JsonObject => json!({"type": "json_object"}),
            Self::JsonSchema(schema) => {
                json!({"type": "json_schema", "json_schema": {"schema": schema}})
            }
            Self::Regex(regex) => json!({"type": "regex", "regex": regex}),
            Self::Lark(grammar) => json!({"type": "lark", "lark": grammar}),
        }
    }
}

impl Serialize for ResponseFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ResponseFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let format = Self::from_json(&value).map_err(D::Error::custom)?;
        format.ok_or_else(|| {
            D::Error::custom("text is what a model writes without a response format")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_as_they_are_written() {
        for format in [
            ResponseFormat::JsonObject,
            ResponseFormat::JsonSchema(json!({"type": "integer"})),
            ResponseFormat::Regex("[a-z]+".into()),
            ResponseFormat::Lark("start: /a/".into()),
        ] {
            let read = ResponseFormat::from_json(&format.to_json()).unwrap();
            assert_eq!(read, Some(format));
        }
        let text = ResponseFormat::from_json(&json!({"type": "text"}));
        assert_eq!(text.unwrap(), None);
    }

    #[test]
    fn long_formats_are_refused() {
        let check = |length| ResponseFormat::Regex("a".repeat(length)).check_length();
        assert!(check(MAX_BYTES - 100).is_ok());
        let error = check(MAX_BYTES).unwrap_err().to_string();
        assert!(error.contains("expected at most 200000 bytes"), "{error}");
    }

    #[test]
    fn what_is_no_format_is_refused() {
        for value in [
            json!(null),
            json!("json_object"),
            json!({}),
            json!({"type": "yaml"}),
            json!({"type": "json_schema"}),
            json!({"type": "json_schema", "json_schema": {}}),
            json!({"type": "regex", "regex": 5}),
        ] {
            let error = ResponseFormat::from_json(&value).unwrap_err().to_string();
            assert!(error.starts_with("invalid response_format = "), "{error}");
        }
    }
}
