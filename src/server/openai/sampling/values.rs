//! The values of settings, from JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use super::MAX_STOPS;
use crate::response_format::ResponseFormat;
use crate::server::error::ApiError;
use crate::server::openai::content::Content;
use crate::settings::{DraftKind, Verification};

/// A value that a request gives to a setting.
pub(super) trait SettingValue<T> {
    fn setting(self) -> Result<T, ApiError>;
}

/// Types whose JSON is the value itself.
macro_rules! given_as_they_are {
    ($($type:ty),*) => {
        $(impl SettingValue<$type> for $type {
            fn setting(self) -> Result<$type, ApiError> {
                Ok(self)
            }
        })*
    };
}

given_as_they_are!(usize, f64, bool, Verification);

impl SettingValue<Option<DraftKind>> for DraftKind {
    fn setting(self) -> Result<Option<DraftKind>, ApiError> {
        Ok(Some(self))
    }
}

/// A seed, which may be negative.
impl SettingValue<Option<u64>> for i64 {
    fn setting(self) -> Result<Option<u64>, ApiError> {
        Ok(Some(self as u64))
    }
}

/// A number of tokens. 0 turns it off, and so does -1, as in vLLM.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct TopK(i64);

impl SettingValue<usize> for TopK {
    fn setting(self) -> Result<usize, ApiError> {
        let top_k = if self.0 == -1 { 0 } else { self.0 };
        usize::try_from(top_k).map_err(|_| {
            let message = format!("invalid top_k = {top_k}: expected at least 0, or -1 for off");
            ApiError::invalid("top_k", message)
        })
    }
}

/// Numbers by token ids, which are texts in JSON.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct LogitBias(BTreeMap<String, f64>);

impl SettingValue<Vec<(u32, f64)>> for LogitBias {
    fn setting(self) -> Result<Vec<(u32, f64)>, ApiError> {
        let biases = self.0.into_iter();
        biases
            .map(|(token, bias)| {
                let invalid = || {
                    let message = format!("invalid logit_bias: {token:?} is not a token id");
                    ApiError::invalid("logit_bias", message)
                };
                Ok((token.parse().map_err(|_| invalid())?, bias))
            })
            .collect()
    }
}

/// A text, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text, or a list of texts")]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl SettingValue<Vec<String>> for OneOrMore {
    fn setting(self) -> Result<Vec<String>, ApiError> {
        let texts = match self {
            Self::One(text) => vec![text],
            Self::More(texts) => texts,
        };
        if texts.len() > MAX_STOPS {
            let message = format!("{} stop texts: at most {MAX_STOPS}", texts.len());
            return Err(ApiError::invalid("stop", message));
        }
        Ok(texts)
    }
}

/// OpenAI's Predicted Outputs: a text that the answer is likely to resemble.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Prediction {
    #[serde(rename = "type", default)]
    _kind: Option<PredictionKind>,
    content: Content,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum PredictionKind {
    Content,
}

impl SettingValue<Option<String>> for Prediction {
    fn setting(self) -> Result<Option<String>, ApiError> {
        self.content.into_text("prediction.content").map(Some)
    }
}

/// OpenAI's `response_format`, and regular expressions and grammars in the same shape.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct ResponseFormatField(Value);

impl SettingValue<Option<ResponseFormat>> for ResponseFormatField {
    fn setting(self) -> Result<Option<ResponseFormat>, ApiError> {
        Ok(ResponseFormat::from_json(&self.0)?)
    }
}

/// Types whose JSON is more restricted than their Rust types.
macro_rules! describe {
    ($($type:ident: $schema:expr;)*) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        })*
    };
}

describe! {
    TopK: json_schema!({"type": "integer", "minimum": -1});
    LogitBias: json_schema!({
        "type": "object",
        "propertyNames": {"pattern": "^[0-9]{1,9}$"},
        "additionalProperties": {"type": "number"},
    });
    OneOrMore: json_schema!({
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": MAX_STOPS},
        ],
    });
    ResponseFormatField: json_schema!({
        "description": "regex is in the syntax of Rust's regex crate, lark in llguidance's variant.",
        "oneOf": [
            {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"enum": ["text", "json_object"]}},
            },
            {
                "type": "object",
                "required": ["type", "json_schema"],
                "properties": {
                    "type": {"const": "json_schema"},
                    "json_schema": {
                        "type": "object",
                        "required": ["schema"],
                        "properties": {"schema": {"type": ["object", "boolean"]}},
                    },
                },
            },
            {
                "type": "object",
                "required": ["type", "regex"],
                "properties": {"type": {"const": "regex"}, "regex": {"type": "string"}},
            },
            {
                "type": "object",
                "required": ["type", "lark"],
                "properties": {"type": {"const": "lark"}, "lark": {"type": "string"}},
            },
        ],
    });
}
