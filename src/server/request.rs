//! What clients may ask for: OpenAI's fields, those that vLLM and llama.cpp add to them, and our own.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;
use crate::config::{DraftKind, SpeculativeConfig, Verification};
use crate::response_format::ResponseFormat;
use crate::text::Message;

/// Answers to one request at most.
const MOST_CHOICES: usize = 128;

/// Texts that end an answer at most.
const MOST_STOPS: usize = 16;

/// The highest temperature, as in OpenAI's API.
const HOTTEST: f64 = 2.0;

/// What requests of every kind have. `null` is the same as leaving a field out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Common {
    /// Whatever it names: there is one model.
    #[serde(rename = "model")]
    _model: Option<String>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    min_p: Option<f64>,
    n: Option<usize>,
    pub(super) stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    stop: Option<OneOrMore>,
    seed: Option<i64>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    repetition_penalty: Option<f64>,
    logit_bias: Option<BTreeMap<String, f64>>,
    response_format: Option<Value>,
    prediction: Option<Prediction>,
    ignore_eos: Option<bool>,
    gamma: Option<usize>,
    adaptive: Option<bool>,
    draft: Option<String>,
    verification: Option<String>,
    /// With every choice, or piece of one, its tokens: text, source, step and log-probability.
    return_tokens: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text, or a list of texts")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// OpenAI's Predicted Outputs: a text that the answer is likely to resemble.
#[derive(Debug, Deserialize)]
struct Prediction {
    #[serde(rename = "type", default)]
    _kind: Option<PredictionKind>,
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PredictionKind {
    Content,
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

#[derive(Debug, Deserialize)]
pub(super) struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

impl Content {
    fn into_text(self, field: &str) -> Result<String, Failure> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Parts(parts) => parts
                .into_iter()
                .map(|part| match (&part.kind[..], part.text) {
                    ("text", Some(text)) => Ok(text),
                    ("text", None) => Err(Failure::invalid(
                        field,
                        "a part of type \"text\" without a text",
                    )),
                    (kind, _) => Err(Failure::invalid(
                        field,
                        format!("a part of type {kind:?}: this model reads \"text\" alone"),
                    )),
                })
                .collect(),
        }
    }
}

/// A turn of a conversation.
#[derive(Debug, Deserialize)]
pub(super) struct ChatMessage {
    role: String,
    #[serde(default)]
    content: Option<Content>,
}

/// /v1/chat/completions.
#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    messages: Vec<ChatMessage>,
    #[serde(default)]
    logprobs: Option<bool>,
    #[serde(default)]
    top_logprobs: Option<usize>,
    #[serde(default)]
    tools: Option<Vec<Value>>,
}

/// /v1/completions.
#[derive(Debug, Deserialize)]
pub(super) struct CompletionRequest {
    pub(super) prompt: PromptField,
    #[serde(default)]
    logprobs: Option<usize>,
    #[serde(default)]
    pub(super) echo: Option<bool>,
    #[serde(default)]
    suffix: Option<String>,
    #[serde(default)]
    best_of: Option<usize>,
}

/// One prompt or several, each a text or tokens.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a text, a list of texts, a list of token ids, or a list of those"
)]
pub(super) enum PromptField {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

impl ChatRequest {
    /// The conversation.
    pub(super) fn take_messages(&mut self) -> Result<Vec<Message>, Failure> {
        if self.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
            let message =
                "tools can't be called here: describe the answer's form by response_format";
            return Err(Failure::invalid("tools", message));
        }
        messages(std::mem::take(&mut self.messages))
    }

    /// The settings: these unless the request says so.
    pub(super) fn config(
        &self,
        common: &mut Common,
        defaults: SpeculativeConfig,
    ) -> Result<SpeculativeConfig, Failure> {
        let logprobs = match (self.logprobs, self.top_logprobs) {
            (Some(true), count) => Some(count.unwrap_or(0)),
            (_, Some(count)) if count > 0 => {
                let message = "top_logprobs without logprobs: set logprobs to true";
                return Err(Failure::invalid("top_logprobs", message));
            }
            _ => None,
        };
        common.config(SpeculativeConfig {
            logprobs,
            ..defaults
        })
    }
}

/// A conversation's turns, as templates read them.
pub(super) fn messages(messages: Vec<ChatMessage>) -> Result<Vec<Message>, Failure> {
    let messages = messages.into_iter().enumerate();
    messages
        .map(|(place, message)| {
            let field = format!("messages[{place}].content");
            let content = message.content.map(|content| content.into_text(&field));
            let content = content.transpose()?.unwrap_or_default();
            Ok(Message::new(message.role, content))
        })
        .collect()
}

/// Tokens that a completion has where the request doesn't say, as in OpenAI's API.
const COMPLETION_TOKENS: usize = 16;

impl CompletionRequest {
    /// The settings: these unless the request says so.
    pub(super) fn config(
        &self,
        common: &mut Common,
        defaults: SpeculativeConfig,
    ) -> Result<SpeculativeConfig, Failure> {
        if self
            .suffix
            .as_ref()
            .is_some_and(|suffix| !suffix.is_empty())
        {
            let message = "a suffix: texts are continued at their end alone";
            return Err(Failure::invalid("suffix", message));
        }
        if self.best_of.is_some_and(|best| best > common.choices()) {
            let message = "best_of: more answers than are returned are not written";
            return Err(Failure::invalid("best_of", message));
        }
        common.config(SpeculativeConfig {
            max_new_tokens: COMPLETION_TOKENS,
            logprobs: self.logprobs,
            ..defaults
        })
    }
}

impl Common {
    /// Answers that are wanted.
    pub(super) fn choices(&self) -> usize {
        self.n.unwrap_or(1)
    }

    pub(super) fn include_usage(&self) -> bool {
        let options = self.stream_options.as_ref();
        options
            .and_then(|options| options.include_usage)
            .unwrap_or(false)
    }

    pub(super) fn return_tokens(&self) -> bool {
        self.return_tokens.unwrap_or(false)
    }

    fn config(&mut self, mut default: SpeculativeConfig) -> Result<SpeculativeConfig, Failure> {
        let choices = self.choices();
        if choices == 0 || choices > MOST_CHOICES {
            let message = format!("invalid n = {choices}: expected 1 to {MOST_CHOICES}");
            return Err(Failure::invalid("n", message));
        }
        if self.prediction.is_some() || self.draft.is_some() {
            // What was chosen for all requests was chosen for other drafts.
            let SpeculativeConfig { gamma, draft, .. } = SpeculativeConfig::default();
            (default.gamma, default.draft) = (gamma, draft);
        }
        let temperature = self.temperature.unwrap_or(default.temperature);
        if temperature > HOTTEST {
            let message = format!("invalid temperature = {temperature}: expected 0 to {HOTTEST}");
            return Err(Failure::invalid("temperature", message));
        }
        let stop = match self.stop.take() {
            None => Vec::new(),
            Some(OneOrMore::One(text)) => vec![text],
            Some(OneOrMore::More(texts)) => texts,
        };
        if stop.len() > MOST_STOPS {
            let message = format!("{} stop texts: at most {MOST_STOPS}", stop.len());
            return Err(Failure::invalid("stop", message));
        }
        let format = self.response_format.as_ref();
        let prediction = self.prediction.take();
        let prediction = prediction.map(|text| text.content.into_text("prediction.content"));
        let config = SpeculativeConfig {
            gamma: self.gamma.unwrap_or(default.gamma),
            adaptive: self.adaptive.unwrap_or(default.adaptive),
            temperature,
            top_k: self.top_k()?,
            top_p: self.top_p.unwrap_or(default.top_p),
            min_p: self.min_p.unwrap_or(default.min_p),
            repetition_penalty: self
                .repetition_penalty
                .unwrap_or(default.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(default.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(default.frequency_penalty),
            logit_bias: self.logit_bias()?,
            max_new_tokens: self
                .max_completion_tokens
                .or(self.max_tokens)
                .unwrap_or(default.max_new_tokens),
            seed: self.seed.map(|seed| seed as u64),
            stop,
            ignore_eos: self.ignore_eos.unwrap_or(default.ignore_eos),
            logprobs: default.logprobs,
            draft: match &self.draft {
                Some(name) => Some(name.parse::<DraftKind>()?),
                None => default.draft,
            },
            verification: match &self.verification {
                Some(name) => name.parse::<Verification>()?,
                None => default.verification,
            },
            prediction: prediction.transpose()?,
            response_format: match format {
                Some(format) => ResponseFormat::from_json(format)?,
                None => None,
            },
        };
        config.validate()?;
        Ok(config)
    }

    /// 0: off, which vLLM's clients call -1.
    fn top_k(&self) -> Result<usize, Failure> {
        let top_k = self.top_k.unwrap_or(0);
        if top_k == -1 {
            return Ok(0);
        }
        usize::try_from(top_k).map_err(|_| {
            let message = format!("invalid top_k = {top_k}: expected at least 0, or -1 for off");
            Failure::invalid("top_k", message)
        })
    }

    fn logit_bias(&self) -> Result<Vec<(u32, f64)>, Failure> {
        let biases = self.logit_bias.iter().flatten();
        biases
            .map(|(token, bias)| {
                let wrong = || {
                    let message = format!("invalid logit_bias: {token:?} is no token id");
                    Failure::invalid("logit_bias", message)
                };
                Ok((token.parse().map_err(|_| wrong())?, *bias))
            })
            .collect()
    }
}

/// /tokenize: a text, or a conversation.
#[derive(Debug, Deserialize)]
pub(super) struct TokenizeRequest {
    #[serde(default)]
    pub(super) content: Option<String>,
    /// vLLM's name of the same.
    #[serde(default)]
    pub(super) prompt: Option<String>,
    #[serde(default)]
    pub(super) messages: Option<Vec<ChatMessage>>,
    #[serde(default = "yes", alias = "add_special")]
    pub(super) add_special_tokens: bool,
}

/// /detokenize.
#[derive(Debug, Deserialize)]
pub(super) struct DetokenizeRequest {
    pub(super) tokens: Vec<u32>,
    #[serde(default)]
    pub(super) skip_special_tokens: bool,
}

fn yes() -> bool {
    true
}
