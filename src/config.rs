//! A request's settings.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::response_format::ResponseFormat;

/// Where drafted tokens come from. What a request's prediction and response format propose is used besides, unless it is
/// `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DraftKind {
    /// All of the decoder's sources together: what promises the most, step by step.
    Auto,
    /// No drafts: plain decoding.
    None,
    /// Prompt lookup: what followed the last few tokens where they stood before.
    Ngram,
    /// The decoder's draft model.
    Model,
    /// The request's own prediction.
    Prediction,
    /// What followed the same tokens in texts that the decoder learned from.
    Table,
    /// What the target found likely behind the same token before.
    Recycling,
}

impl DraftKind {
    const NAMES: [(Self, &'static str); 7] = [
        (Self::Auto, "auto"),
        (Self::None, "none"),
        (Self::Ngram, "ngram"),
        (Self::Model, "model"),
        (Self::Prediction, "prediction"),
        (Self::Table, "table"),
        (Self::Recycling, "recycling"),
    ];
}

impl FromStr for DraftKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::NAMES.iter().find(|entry| entry.1 == name);
        known.map(|entry| entry.0).ok_or_else(|| {
            Error::invalid("draft", name, Self::NAMES.map(|entry| entry.1).join(", "))
        })
    }
}

impl fmt::Display for DraftKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::NAMES.iter().find(|entry| entry.0 == *self);
        f.write_str(known.map_or("", |entry| entry.1))
    }
}

/// How drafted tokens are checked against the target's law. With any of them the output follows that law; at temperature
/// 0 all three are equality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// A position's noise chooses the target's token, and a drafted one stands if it is that one: the output is the same
    /// token for token as without speculation, given the seed (2408.07978).
    #[default]
    Coupled,
    /// Rejection sampling, token by token: accepts the most of single tokens (2211.17192, 2302.01318).
    Rejection,
    /// Block verification (of trees: traversal verification): accepts the most of whole drafts (2403.10444, 2505.12398).
    Block,
}

impl Verification {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Coupled, Self::Rejection, Self::Block];

    const NAMES: [(Self, &'static str); 3] = [
        (Self::Coupled, "coupled"),
        (Self::Rejection, "rejection"),
        (Self::Block, "block"),
    ];
}

impl FromStr for Verification {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::NAMES.iter().find(|entry| entry.1 == name);
        known
            .map(|entry| entry.0)
            .ok_or_else(|| Error::invalid("verification", name, "coupled, rejection or block"))
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::NAMES.iter().find(|entry| entry.0 == *self);
        f.write_str(known.map_or("", |entry| entry.1))
    }
}

/// How to generate. Start from the default and set what matters:
///
/// ```
/// use specdec_rs::SpeculativeConfig;
/// let config = SpeculativeConfig { gamma: 8, temperature: 0.8, top_k: 40, top_p: 0.9, ..Default::default() };
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SpeculativeConfig {
    /// Most tokens drafted a step (exactly so many if not `adaptive`), up to 256; 0 is plain decoding.
    pub gamma: usize,
    /// Whether each step drafts what pays, up to `gamma` tokens.
    pub adaptive: bool,
    /// Divides the logits; 0 is greedy decoding.
    pub temperature: f64,
    /// Sample among the k likeliest tokens; 0 is off.
    pub top_k: usize,
    /// Sample among the likeliest tokens that reach this share together; 1 is off.
    pub top_p: f64,
    /// Sample among tokens at least this fraction as likely as the likeliest; 0 is off.
    pub min_p: f64,
    /// Divides the logits of tokens seen before (in prompt or output); 1 is off.
    pub repetition_penalty: f64,
    /// Subtracted from the logits of tokens in the output so far.
    pub presence_penalty: f64,
    /// Subtracted once for every time that a token is in the output so far.
    pub frequency_penalty: f64,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f64)>,
    /// Most tokens generated.
    pub max_new_tokens: usize,
    /// Makes sampling repeatable; `None` draws a fresh one. Rejection and block verification repeat a text only where the
    /// drafts are the same, too: not where the controller chooses, which measures time.
    pub seed: Option<u64>,
    /// Generation ends before the first of these texts.
    pub stop: Vec<String>,
    /// Go on past end-of-text tokens.
    pub ignore_eos: bool,
    /// Report each token's log-probability, and those of so many likeliest alternatives.
    pub logprobs: Option<usize>,
    /// Where drafts come from; `None`: what the decoder was made with.
    pub draft: Option<DraftKind>,
    /// How drafts are checked.
    pub verification: Verification,
    /// A text that the output is likely to resemble, to draft from.
    pub prediction: Option<String>,
    /// What the output must look like; `None`: as the model likes.
    pub response_format: Option<ResponseFormat>,
}

impl Default for SpeculativeConfig {
    fn default() -> Self {
        Self {
            gamma: 16,
            adaptive: true,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            max_new_tokens: 128,
            seed: None,
            stop: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            draft: None,
            verification: Verification::default(),
            prediction: None,
            response_format: None,
        }
    }
}

/// Alternatives reported a token at most, as in OpenAI's API.
const MOST_LOGPROBS: usize = 20;

/// Below this temperature decoding is greedy; dividing by less would overflow.
const GREEDY_BELOW: f64 = 1e-5;

impl SpeculativeConfig {
    /// Whether the likeliest token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature < GREEDY_BELOW
    }

    /// Checks every field's range; the error names the first that is out of it.
    pub fn validate(&self) -> Result<()> {
        let check = |ok: bool, field: &str, value: &dyn fmt::Display, expected: &str| {
            if ok {
                Ok(())
            } else {
                Err(Error::invalid(field, value, expected))
            }
        };
        let temperature = self.temperature;
        let finite = temperature.is_finite() && temperature >= 0.0;
        check(finite, "temperature", &temperature, "a finite number >= 0")?;
        let in_unit = |value: f64| (0.0..=1.0).contains(&value);
        let top_p = in_unit(self.top_p) && self.top_p > 0.0;
        check(top_p, "top_p", &self.top_p, "a number in (0, 1]")?;
        check(
            in_unit(self.min_p),
            "min_p",
            &self.min_p,
            "a number in [0, 1]",
        )?;
        let repetition = self.repetition_penalty;
        let positive = repetition.is_finite() && repetition > 0.0;
        check(
            positive,
            "repetition_penalty",
            &repetition,
            "a finite number > 0",
        )?;
        for (field, value) in [
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ] {
            check(value.is_finite(), field, &value, "a finite number")?;
        }
        for (token, bias) in &self.logit_bias {
            let entry = format!("{{{token}: {bias}}}");
            check(!bias.is_nan(), "logit_bias", &entry, "numbers")?;
        }
        if self.draft == Some(DraftKind::Prediction) && self.prediction.is_none() {
            let expected = "another source, as there is no `prediction` to draft from";
            return Err(Error::invalid("draft", DraftKind::Prediction, expected));
        }
        let stops = self.stop.iter().all(|stop| !stop.is_empty());
        check(stops, "stop", &"\"\"", "texts that are not empty")?;
        if let Some(count) = self.logprobs {
            let expected = format!("at most {MOST_LOGPROBS}");
            check(count <= MOST_LOGPROBS, "logprobs", &count, &expected)?;
        }
        if self.response_format.is_some() {
            let expected =
                "false: a text with a response_format has an end, and nothing may follow it";
            check(!self.ignore_eos, "ignore_eos", &self.ignore_eos, expected)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_out_of_range_is_named() {
        let default = SpeculativeConfig::default;
        let wrong = [
            (
                "temperature",
                SpeculativeConfig {
                    temperature: f64::NAN,
                    ..default()
                },
            ),
            (
                "temperature",
                SpeculativeConfig {
                    temperature: -1.0,
                    ..default()
                },
            ),
            (
                "top_p",
                SpeculativeConfig {
                    top_p: 0.0,
                    ..default()
                },
            ),
            (
                "top_p",
                SpeculativeConfig {
                    top_p: f64::NAN,
                    ..default()
                },
            ),
            (
                "min_p",
                SpeculativeConfig {
                    min_p: 1.5,
                    ..default()
                },
            ),
            (
                "repetition_penalty",
                SpeculativeConfig {
                    repetition_penalty: 0.0,
                    ..default()
                },
            ),
            (
                "presence_penalty",
                SpeculativeConfig {
                    presence_penalty: f64::INFINITY,
                    ..default()
                },
            ),
            (
                "frequency_penalty",
                SpeculativeConfig {
                    frequency_penalty: f64::NAN,
                    ..default()
                },
            ),
            (
                "logit_bias",
                SpeculativeConfig {
                    logit_bias: vec![(1, f64::NAN)],
                    ..default()
                },
            ),
            (
                "stop",
                SpeculativeConfig {
                    stop: vec![String::new()],
                    ..default()
                },
            ),
            (
                "ignore_eos",
                SpeculativeConfig {
                    ignore_eos: true,
                    response_format: Some(ResponseFormat::JsonObject),
                    ..default()
                },
            ),
            (
                "logprobs",
                SpeculativeConfig {
                    logprobs: Some(21),
                    ..default()
                },
            ),
        ];
        for (field, config) in wrong {
            let message = config.validate().unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("invalid {field} = ")),
                "{message}"
            );
        }
        for gamma in [0, 1_000_000_000] {
            assert!(SpeculativeConfig { gamma, ..default() }.validate().is_ok());
        }
    }

    #[test]
    fn names_round_trip() {
        for (verification, name) in Verification::NAMES {
            assert_eq!(name.parse::<Verification>().unwrap(), verification);
            assert_eq!(verification.to_string(), name);
        }
        for (kind, name) in DraftKind::NAMES {
            assert_eq!(name.parse::<DraftKind>().unwrap(), kind);
            assert_eq!(kind.to_string(), name);
        }
    }
}
