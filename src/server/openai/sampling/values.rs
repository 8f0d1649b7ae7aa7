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
use crate::server::openai::number::{Count, Integer, Number};
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

given_as_they_are!(bool, Verification);

impl SettingValue<usize> for Count {
    fn setting(self) -> Result<usize, ApiError> {
        Ok(self.0)
    }
}

impl SettingValue<f64> for Number {
    fn setting(self) -> Result<f64, ApiError> {
        Ok(self.0)
    }
}

impl SettingValue<Option<DraftKind>> for DraftKind {
    fn setting(self) -> Result<Option<DraftKind>, ApiError> {
        Ok(Some(self))
    }
}

/// A seed, which may be negative; -1 is a fresh one, as in llama.cpp.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Seed(Integer);

impl SettingValue<Option<u64>> for Seed {
    fn setting(self) -> Result<Option<u64>, ApiError> {
        Ok((self.0.0 != -1).then_some(self.0.0 as u64))
    }
}

/// A number of tokens. 0 turns it off, and so does -1, as in vLLM.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct TopK(Integer);

impl SettingValue<usize> for TopK {
    fn setting(self) -> Result<usize, ApiError> {
        let top_k = if self.0.0 == -1 { 0 } else { self.0.0 };
        usize::try_from(top_k).map_err(|_| {
            let message =
                format!("invalid top_k = {top_k}: expected an integer >= 0, or -1 for off");
            ApiError::invalid("top_k", message)
        })
    }
}

/// Numbers by token ids: an object, whose keys are texts in JSON, or llama.cpp's list of pairs, in which false forbids a token.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected {token id: number}, or a list of [token id, number]"
)]
pub(super) enum LogitBias {
    Object(BTreeMap<String, Number>),
    Pairs(Vec<(Value, Value)>),
}

impl SettingValue<Vec<(u32, f64)>> for LogitBias {
    fn setting(self) -> Result<Vec<(u32, f64)>, ApiError> {
        let invalid = |what: &dyn std::fmt::Display, expected: &str| {
            let message = format!("invalid logit_bias: {what} is not {expected}");
            ApiError::invalid("logit_bias", message)
        };
        match self {
            Self::Object(biases) => biases
                .into_iter()
                .map(|(token, Number(bias))| {
                    let id = token.parse();
                    Ok((
                        id.map_err(|_| invalid(&format!("{token:?}"), "a token id"))?,
                        bias,
                    ))
                })
                .collect(),
            Self::Pairs(pairs) => pairs
                .into_iter()
                .map(|(token, bias)| {
                    let id = token.as_u64().and_then(|id| u32::try_from(id).ok());
                    let value = match bias {
                        Value::Bool(false) => Some(f64::NEG_INFINITY),
                        _ => bias.as_f64(),
                    };
                    let id = id.ok_or_else(|| invalid(&token, "a token id"))?;
                    Ok((
                        id,
                        value.ok_or_else(|| invalid(&bias, "a number, or false"))?,
                    ))
                })
                .collect(),
        }
    }
}

/// A text, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string, or a list of strings")]
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
        "anyOf": [
            {
                "type": "object",
                "propertyNames": {"pattern": "^[0-9]{1,9}$"},
                "additionalProperties": {"type": "number"},
            },
            {
                "type": "array",
                "items": {
                    "type": "array",
                    "prefixItems": [{"type": "integer", "minimum": 0}, {"type": ["number", "boolean"]}],
                    "minItems": 2,
                    "maxItems": 2,
                },
            },
        ],
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
                "required": ["type"],
                "properties": {
                    "type": {"const": "json_schema"},
                    "json_schema": {"description": "An object whose `schema` is the JSON schema."},
                    "schema": {"description": "The JSON schema, in llama.cpp's place."},
                },
                "anyOf": [{"required": ["json_schema"]}, {"required": ["schema"]}],
            },
            {
                "type": "object",
                "required": ["type"],
                "properties": {
                    "type": {"const": "regex"},
                    "regex": {"type": "string"},
                    "value": {"type": "string"},
                },
                "anyOf": [{"required": ["regex"]}, {"required": ["value"]}],
            },
            {
                "type": "object",
                "required": ["type", "lark"],
                "properties": {"type": {"const": "lark"}, "lark": {"type": "string"}},
            },
        ],
    });
}
