//! The fields of a request that no type describes: those of other servers, and misspelled ones.
//!
//! A field that would change the answer is refused by name, unless its value is the one that changes nothing. What doesn't
//! bind the answer is accepted. Anything else is unknown: named in the header `x-specdec-ignored-fields` and in the log, and
//! refused by `specdec serve --strict`.

use std::collections::BTreeSet;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

use crate::names::closest;
use crate::server::error::ApiError;

/// Names the fields of a request that were ignored.
pub(in crate::server) const IGNORED_FIELDS: HeaderName =
    HeaderName::from_static("x-specdec-ignored-fields");

/// The names of the fields that an endpoint's types describe.
pub(in crate::server) struct Fields(BTreeSet<String>);

/// The unknown fields of a request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::server) struct Ignored(pub(in crate::server) Vec<String>);

/// The most names that a header or a message shows.
const MAX_SHOWN: usize = 16;

/// Fields that only say how a request is handled, not what its answer is.
const HARMLESS: &[&str] = &[
    // OpenAI's.
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    // vLLM's and SGLang's.
    "detokenize",
    "guided_decoding_backend",
    "guided_whitespace_pattern",
    "include_reasoning",
    "kv_transfer_params",
    "priority",
    "request_id",
    "rid",
    "separate_reasoning",
    "spaces_between_special_tokens",
    "stream_reasoning",
    // llama.cpp's.
    "cache_prompt",
    "id_slot",
    "n_keep",
    "parse_tool_calls",
    "reasoning_format",
    "return_progress",
    "timings_per_token",
    // Of samplers that are off, see below.
    "dry_allowed_length",
    "dry_base",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dynatemp_exponent",
    "mirostat_eta",
    "mirostat_tau",
    "smoothing_curve",
    "xtc_threshold",
    // Ollama's and LM Studio's.
    "keep_alive",
    "ttl",
];

/// Fields that change the prompt or the answer and are not supported; the values, as JSON, with which they change nothing; and
/// what to do in place of them.
const REFUSED: &[(&str, &[&str], &str)] = &[
    // OpenAI's.
    ("audio", &[], "answers are texts"),
    ("function_call", &["\"none\""], "use response_format"),
    ("functions", &["[]"], "use response_format"),
    ("modalities", &["[\"text\"]", "[]"], "answers are texts"),
    ("verbosity", &["\"medium\""], "say it in the messages"),
    ("web_search_options", &[], "there is no search"),
    (
        "reasoning",
        &["{}"],
        "use reasoning_effort or chat_template_kwargs",
    ),
    // vLLM's and SGLang's.
    (
        "allowed_token_ids",
        &[],
        "use response_format or logit_bias",
    ),
    ("bad_words", &["[]"], "use logit_bias"),
    (
        "chat_template",
        &[],
        "start the server with --chat-template",
    ),
    ("custom_logit_processor", &[], "use logit_bias"),
    ("early_stopping", &["false"], "there is no beam search"),
    ("ebnf", &[], "use response_format with lark"),
    ("guided_grammar", &[], "use response_format with lark"),
    (
        "include_stop_str_in_output",
        &["false"],
        "add the stop text yourself",
    ),
    ("length_penalty", &["1"], "there is no beam search"),
    ("logits_processors", &["[]"], "use logit_bias"),
    ("lora_path", &[], "start the server with --lora"),
    ("min_tokens", &["0"], "use ignore_eos with max_tokens"),
    ("min_new_tokens", &["0"], "use ignore_eos with max_tokens"),
    ("mm_processor_kwargs", &["{}"], "models read only text"),
    ("no_stop_trim", &["false"], "add the stop text yourself"),
    (
        "prompt_logprobs",
        &["0"],
        "only tokens of the answer have log-probabilities",
    ),
    (
        "skip_special_tokens",
        &["true"],
        "special tokens are left out of texts",
    ),
    ("stop_regex", &["[]"], "use stop"),
    ("stop_token_ids", &["[]"], "use stop"),
    ("truncate_prompt_tokens", &["-1"], "shorten the prompt"),
    ("use_beam_search", &["false"], "there is no beam search"),
    (
        "return_tokens_as_token_ids",
        &["false"],
        "use return_tokens",
    ),
    // llama.cpp's.
    ("dry_multiplier", &["0"], "use repetition_penalty"),
    ("dynatemp_range", &["0"], "use temperature"),
    ("grammar", &["\"\""], "use response_format with lark"),
    ("image_data", &["[]"], "models read only text"),
    (
        "input_prefix",
        &["\"\""],
        "texts are continued only at their end",
    ),
    (
        "input_suffix",
        &["\"\""],
        "texts are continued only at their end",
    ),
    ("lora", &["[]"], "start the server with --lora"),
    ("min_keep", &["0", "1"], "leave it out"),
    ("mirostat", &["0"], "use temperature and top_p"),
    ("n_discard", &["0"], "shorten the prompt"),
    ("n_indent", &["0"], "use response_format"),
    ("n_probs", &["0"], "use logprobs"),
    ("penalize_nl", &["false"], "use logit_bias"),
    ("post_sampling_probs", &["false"], "use logprobs"),
    ("repeat_last_n", &["-1"], "penalties count the whole text"),
    ("samplers", &["[]"], "the order of samplers is fixed"),
    ("t_max_predict_ms", &["0", "-1"], "use max_tokens"),
    ("tfs_z", &["1"], "use top_p"),
    ("top_n_sigma", &["0", "-1"], "use min_p"),
    ("typical_p", &["1"], "use top_p"),
    ("xtc_probability", &["0"], "use temperature"),
    // Others'.
    ("context", &["[]"], "send messages"),
    (
        "do_sample",
        &["true"],
        "use temperature, 0 for greedy decoding",
    ),
    ("enable_thinking", &[], "use chat_template_kwargs"),
    ("epsilon_cutoff", &["0"], "use min_p"),
    ("eta_cutoff", &["0"], "use min_p"),
    ("format", &["\"\""], "use response_format"),
    ("images", &["[]"], "models read only text"),
    ("no_repeat_ngram_size", &["0"], "use repetition_penalty"),
    ("num_beams", &["1"], "there is no beam search"),
    ("num_predict", &[], "use max_tokens"),
    (
        "options",
        &["{}"],
        "give each option as a field of the request",
    ),
    ("penalty_alpha", &["0"], "use repetition_penalty"),
    ("smoothing_factor", &["0"], "use temperature"),
    ("system", &["\"\""], "send a message of the role \"system\""),
    (
        "template",
        &["\"\""],
        "start the server with --chat-template",
    ),
    ("think", &[], "use chat_template_kwargs"),
    ("thinking", &[], "use chat_template_kwargs"),
    ("top_a", &["0"], "use min_p"),
    ("truncate", &[], "shorten the prompt"),
    ("typical", &["1"], "use top_p"),
    ("watermark", &["false"], "leave it out"),
];

impl Fields {
    /// No fields.
    pub(in crate::server) fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// And those of a type, as its description lists them.
    pub(in crate::server) fn and<T: JsonSchema>(mut self) -> Self {
        let mut generator = SchemaGenerator::default();
        let schema = T::json_schema(&mut generator);
        let whole = schema.as_value();
        let choices = whole["anyOf"].as_array().into_iter().flatten();
        for described in choices.chain([whole]) {
            let properties = described["properties"].as_object();
            self.0
                .extend(properties.into_iter().flat_map(Map::keys).cloned());
        }
        self
    }

    /// The fields of a request that are unknown; an error names one that is not supported, or, if `strict`, is unknown.
    pub(in crate::server) fn check(
        &self,
        request: &Map<String, Value>,
        strict: bool,
    ) -> Result<Ignored, ApiError> {
        let mut unknown = Vec::new();
        let given = request
            .iter()
            .filter(|(name, value)| !value.is_null() && !self.0.contains(*name));
        for (name, value) in given {
            if HARMLESS.contains(&&name[..]) {
                continue;
            }
            match REFUSED.iter().find(|refused| refused.0 == name) {
                Some((_, neutral, _)) if neutral.iter().any(|neutral| is_same(value, neutral)) => {}
                Some((_, _, advice)) => {
                    let message = format!("{name} is not supported: {advice}");
                    return Err(ApiError::invalid(name, message));
                }
                None => unknown.push(name.clone()),
            }
        }
        match unknown.first() {
            Some(name) if strict => Err(self.unknown(name)),
            _ => Ok(Ignored(unknown)),
        }
    }

    fn unknown(&self, name: &str) -> ApiError {
        let known = self.0.iter().map(String::as_str);
        let hint =
            closest(name, known).map_or(String::new(), |known| format!(": did you mean {known}?"));
        let name: String = name.chars().take(64).collect();
        ApiError::invalid(&name, format!("unknown field {name:?}{hint}"))
    }
}

impl Ignored {
    /// Adds more names; an error, if `strict`, names the first.
    pub(in crate::server) fn add(
        &mut self,
        names: Vec<String>,
        strict: bool,
    ) -> Result<(), ApiError> {
        if let Some(name) = names.first().filter(|_| strict) {
            let message = format!("{name}: the model's chat template does not read it");
            return Err(ApiError::invalid(name, message));
        }
        self.0.extend(names);
        Ok(())
    }

    /// A response that names them in a header; the log names them too.
    pub(in crate::server) fn named_in(&self, mut response: Response) -> Response {
        let Some(names) = self.header() else {
            return response;
        };
        tracing::warn!(fields = names, "unknown fields of a request are ignored");
        if let Ok(names) = HeaderValue::from_str(&names) {
            response.headers_mut().insert(IGNORED_FIELDS, names);
        }
        response
    }

    /// The names as a header's value: those that a header can hold.
    fn header(&self) -> Option<String> {
        let plain = |name: &&String| {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            name.len() <= 64 && name.bytes().all(letter)
        };
        let names: Vec<&str> = self
            .0
            .iter()
            .filter(plain)
            .take(MAX_SHOWN)
            .map(String::as_str)
            .collect();
        (!self.0.is_empty()).then(|| names.join(", "))
    }
}

/// Whether a value is the one that some JSON describes; numbers by their values.
fn is_same(value: &Value, json: &str) -> bool {
    let neutral: Value = serde_json::from_str(json).unwrap_or_default();
    match (value.as_f64(), neutral.as_f64()) {
        (Some(value), Some(neutral)) => value.to_bits() == neutral.to_bits(),
        _ => *value == neutral,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::server::openai::{ChatRequest, CommonFields, SettingFields};

    fn check(request: &Value, strict: bool) -> Result<Ignored, ApiError> {
        let fields = Fields::none()
            .and::<SettingFields>()
            .and::<CommonFields>()
            .and::<ChatRequest>();
        fields.check(request.as_object().unwrap(), strict)
    }

    #[test]
    fn what_changes_the_answer_is_refused_by_name() {
        for (name, value) in [
            ("mirostat", json!(2)),
            ("min_tokens", json!(4)),
            ("grammar", json!("root ::= \"a\"")),
        ] {
            let error = check(&json!({"messages": [], name: value}), false).unwrap_err();
            assert!(format!("{error:?}").contains(name));
        }
        for (name, value) in [
            ("mirostat", json!(0.0)),
            ("min_tokens", json!(0)),
            ("grammar", json!(null)),
        ] {
            assert_eq!(
                check(&json!({name: value}), true).unwrap(),
                Ignored::default()
            );
        }
    }

    #[test]
    fn unknown_fields_are_named() {
        let request = json!({"temperature": 1, "temprature": 5, "user": "me"});
        assert_eq!(
            check(&request, false).unwrap(),
            Ignored(vec!["temprature".into()])
        );
        let error = format!("{:?}", check(&request, true).unwrap_err());
        assert!(error.contains("did you mean temperature?"), "{error}");
    }

    #[test]
    fn no_field_has_two_meanings() {
        let fields = Fields::none()
            .and::<SettingFields>()
            .and::<CommonFields>()
            .and::<ChatRequest>();
        for (name, neutral, advice) in REFUSED {
            assert!(
                !HARMLESS.contains(name) && !fields.0.contains(*name),
                "{name}"
            );
            assert!(!advice.is_empty());
            for json in *neutral {
                assert!(
                    serde_json::from_str::<Value>(json).is_ok(),
                    "{name}: {json}"
                );
            }
        }
    }

    #[test]
    fn a_header_holds_plain_names_alone() {
        let ignored = Ignored(vec!["a_b".into(), "x\r\ny".into(), "c".into()]);
        assert_eq!(ignored.header().as_deref(), Some("a_b, c"));
        assert_eq!(Ignored::default().header(), None);
    }
}
