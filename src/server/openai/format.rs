//! The fields by which other servers' clients ask for a format: vLLM's, `SGLang`'s and llama.cpp's. Each is the same as a
//! `response_format`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::response_format::ResponseFormat;
use crate::server::error::ApiError;

/// Formats by other servers' names.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(in crate::server) struct FormatFields {
    /// A JSON schema, by llama.cpp's name.
    json_schema: Option<Value>,
    /// A JSON schema, by vLLM's name.
    guided_json: Option<Value>,
    /// A regular expression, by vLLM's name.
    guided_regex: Option<String>,
    /// Texts of which the answer is one, by vLLM's name.
    guided_choice: Option<Vec<String>>,
    /// A regular expression, by the name of `SGLang`.
    regex: Option<String>,
    /// vLLM's newer form of all of these.
    structured_outputs: Option<StructuredOutputs>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct StructuredOutputs {
    json: Option<Value>,
    regex: Option<String>,
    choice: Option<Vec<String>>,
    json_object: Option<bool>,
    /// Not supported.
    grammar: Option<Value>,
    /// Not supported.
    structural_tag: Option<Value>,
}

impl FormatFields {
    /// The format that the fields ask for, and the field that does.
    pub(super) fn format(self) -> Result<Option<(&'static str, ResponseFormat)>, ApiError> {
        let outputs = self.structured_outputs.unwrap_or_default();
        for (name, given) in [
            ("structured_outputs.grammar", outputs.grammar),
            ("structured_outputs.structural_tag", outputs.structural_tag),
        ] {
            if given.is_some() {
                let message = format!(
                    "{name} is not supported: use response_format, which also takes regex and lark"
                );
                return Err(ApiError::invalid(name, message));
            }
        }
        let schema = |schema| ResponseFormat::JsonSchema(parsed(schema));
        let formats = [
            ("json_schema", self.json_schema.map(schema)),
            ("guided_json", self.guided_json.map(schema)),
            ("guided_regex", self.guided_regex.map(ResponseFormat::Regex)),
            (
                "guided_choice",
                self.guided_choice.map(ResponseFormat::one_of),
            ),
            ("regex", self.regex.map(ResponseFormat::Regex)),
            ("structured_outputs.json", outputs.json.map(schema)),
            (
                "structured_outputs.regex",
                outputs.regex.map(ResponseFormat::Regex),
            ),
            (
                "structured_outputs.choice",
                outputs.choice.map(ResponseFormat::one_of),
            ),
            (
                "structured_outputs.json_object",
                outputs
                    .json_object
                    .filter(|wanted| *wanted)
                    .map(|_| ResponseFormat::JsonObject),
            ),
        ];
        let mut given = formats
            .into_iter()
            .filter_map(|(name, format)| Some((name, format?)));
        let first = given.next();
        match (&first, given.next()) {
            (Some((first, _)), Some((second, _))) => {
                let message = format!("{first} and {second}: an answer has one format");
                Err(ApiError::invalid(second, message))
            }
            _ => Ok(first),
        }
    }
}

/// A schema, which vLLM's clients may send as a text.
fn parsed(schema: Value) -> Value {
    match schema.as_str().map(serde_json::from_str) {
        Some(Ok(parsed)) => parsed,
        _ => schema,
    }
}
