//! The fields that chat and completion requests have in common.

mod values;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::format::FormatFields;
use super::number::{Count, Limit, Number};
use crate::server::error::ApiError;
use crate::settings::{DraftKind, Range, SETTINGS, SpeculativeConfig, Verification, settings};
use values::{LogitBias, OneOrMore, Prediction, ResponseFormatField, Seed, SettingValue, TopK};

/// The maximum number of answers to one prompt.
const MAX_CHOICES: usize = 128;

/// The maximum number of stop texts of one request.
const MAX_STOPS: usize = 16;

/// The highest temperature, as in OpenAI's API.
const MAX_TEMPERATURE: f64 = 2.0;

macro_rules! define_fields {
    ($(
        #[doc = $doc:tt]
        $name:ident: $type:ty = $default:expr, $range:expr => {
            $(model($($model:tt)*),)?
            $(option_of_model($($of_model:tt)*),)?
            $(option_with_default($($with_default:tt)*),)?
            $(option($($option:tt)*),)?
            $(request($request:ty),)?
        }
    )*) => {
        /// The settings of one request.
        #[derive(Debug, Deserialize, JsonSchema)]
        #[schemars(transform = add_ranges)]
        pub(in crate::server) struct SettingFields {
            $($(
                #[doc = $doc]
                $name: Option<$request>,
            )?)*
        }

        impl SettingFields {
            /// Applies the fields that the request has.
            fn apply(self, config: &mut SpeculativeConfig) -> Result<(), ApiError> {
                $($(
                    let value: Option<$request> = self.$name;
                    if let Some(value) = value {
                        config.$name = value.setting()?;
                    }
                )?)*
                Ok(())
            }
        }
    };
}

settings!(define_fields);

/// Adds the settings' ranges to the description of their fields.
fn add_ranges(schema: &mut Schema) {
    let Some(fields) = schema
        .get_mut("properties")
        .and_then(|fields| fields.as_object_mut())
    else {
        return;
    };
    for setting in SETTINGS {
        let range = match (setting.name, setting.range) {
            ("temperature", Range::AtLeast(min)) => Range::Within(min, MAX_TEMPERATURE),
            (_, range) => range,
        };
        let field = fields
            .get_mut(setting.name)
            .and_then(|field| field.as_object_mut());
        if let Some(field) = field {
            field.extend(
                range
                    .keywords()
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value)),
            );
        }
    }
}

/// The fields of a request that are not settings.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(in crate::server) struct CommonFields {
    /// Ignored: the server has one model.
    #[serde(rename = "model")]
    _model: Option<String>,
    /// The maximum number of tokens of an answer; -1 is as many as there is room for.
    max_tokens: Option<Limit>,
    /// The same, by its newer name.
    max_completion_tokens: Option<Limit>,
    /// The same, by llama.cpp's name.
    n_predict: Option<Limit>,
    /// The same, by Hugging Face's name.
    max_new_tokens: Option<Limit>,
    /// `repetition_penalty`, by llama.cpp's name; it counts the whole text here.
    repeat_penalty: Option<Number>,
    /// The number of answers to each prompt.
    #[schemars(range(min = 1, max = MAX_CHOICES))]
    n: Option<Count>,
    /// Send the answer in chunks, as server-sent events, the last of which is [DONE].
    pub(in crate::server) stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    /// Requests share cached prompts, and what drafts learn from texts, only with those of the same salt.
    #[schemars(length(min = 1))]
    cache_salt: Option<String>,
    /// Send each token, with the source that proposed it and its step, and the statistics of each answer.
    return_tokens: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
struct StreamOptions {
    /// Send a last chunk with the usage.
    include_usage: Option<bool>,
}

impl CommonFields {
    /// The number of answers to each prompt.
    pub(in crate::server) fn choices(&self) -> usize {
        self.n.map_or(1, |Count(n)| n)
    }

    /// The maximum number of an answer's tokens.
    fn limit(&self) -> Option<Limit> {
        self.max_completion_tokens
            .or(self.max_tokens)
            .or(self.max_new_tokens)
            .or(self.n_predict)
    }

    /// Whether an answer may have as many tokens as there is room for.
    pub(in crate::server) fn is_unlimited(&self) -> bool {
        self.limit() == Some(Limit::None)
    }

    /// Names the requests with which this one shares what was computed.
    pub(in crate::server) fn cache_salt(&self) -> Result<Option<&str>, ApiError> {
        match self.cache_salt.as_deref() {
            Some("") => {
                let message = "invalid cache_salt = \"\": expected a text that is not empty";
                Err(ApiError::invalid("cache_salt", message))
            }
            salt => Ok(salt),
        }
    }

    pub(in crate::server) fn include_usage(&self) -> bool {
        let options = self.stream_options.as_ref();
        options
            .and_then(|options| options.include_usage)
            .unwrap_or(false)
    }

    pub(in crate::server) fn return_tokens(&self) -> bool {
        self.return_tokens.unwrap_or(false)
    }
}

/// The settings of a request: the defaults unless a field says otherwise.
pub(in crate::server) fn config(
    settings: SettingFields,
    common: &CommonFields,
    format: FormatFields,
    mut config: SpeculativeConfig,
) -> Result<SpeculativeConfig, ApiError> {
    let choices = common.choices();
    if choices == 0 || choices > MAX_CHOICES {
        let message = format!("invalid n = {choices}: expected 1 to {MAX_CHOICES}");
        return Err(ApiError::invalid("n", message));
    }
    if settings.prediction.is_some() || settings.draft.is_some() {
        // The server's own values were chosen for other drafts.
        let SpeculativeConfig { gamma, draft, .. } = SpeculativeConfig::default();
        (config.gamma, config.draft) = (gamma, draft);
    }
    if let (Some(Number(penalty)), None) = (common.repeat_penalty, &settings.repetition_penalty) {
        config.repetition_penalty = penalty;
    }
    if let Some((field, format)) = format.format()? {
        if settings.response_format.is_some() {
            let message = format!("{field} and response_format: an answer has one format");
            return Err(ApiError::invalid(field, message));
        }
        config.response_format = Some(format);
    }
    settings.apply(&mut config)?;
    if config.temperature > MAX_TEMPERATURE {
        let temperature = config.temperature;
        let message =
            format!("invalid temperature = {temperature}: expected 0 to {MAX_TEMPERATURE}");
        return Err(ApiError::invalid("temperature", message));
    }
    if let Some(Limit::Tokens(tokens)) = common.limit() {
        config.max_new_tokens = tokens;
    }
    config.validate()?;
    Ok(config)
}
