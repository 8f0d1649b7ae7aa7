//! A request's settings, each declared once, by `settings!` below.
//!
//! From that one declaration come the struct [`SpeculativeConfig`] with its defaults, ranges and serde form; the command
//! line's options ([`crate::cli`]); the constructor, the getters and the stubs of Python's class; the fields that the server
//! takes, and their description; and the table in docs/guide.md. CONTRIBUTING.md shows how one is added.
//!
//! Each interface hands `settings!` a macro of its own, which turns the declarations into what that interface needs.

mod choices;
mod draft_kind;
mod range;
#[cfg(test)]
mod tests;

pub(crate) use choices::Choice;
pub use choices::Verification;
pub use draft_kind::DraftKind;
pub(crate) use range::{Range, Ranged};

use crate::error::{Error, Result};
use crate::response_format::ResponseFormat;

/// Every setting, in the order of the parameters in Python:
///
/// ```text
/// /// What it means, in one sentence for all interfaces.
/// NAME: TYPE = DEFAULT, RANGE => {
///     model(JSON, GGUF, OFF),    // a model's files may give its default: by these names in generation_config.json and after
///                                // `general.sampling.` in GGUF; OFF, if it samples, is the value that changes nothing
///     option_of_model(CLAP),     // an option of the command line whose default is the model's
///     option_with_default(CLAP), // an option of the command line that shows its default: arguments of `#[arg]`
///     option(CLAP),              // or one without
///     request(TYPE),             // a field of the server's requests: how JSON gives it
/// }
/// ```
///
/// What an interface leaves out it does not offer, or (as `max_tokens`) in a form of its own.
macro_rules! settings {
    ($derive:ident) => {
        $derive! {
            /// Maximum number of tokens drafted per step (exactly this many if not `adaptive`); 0 disables speculation.
            gamma: usize = 16, Range::UpTo(256) => { request(Count), }

            /// Divides the logits: 0 is greedy decoding, 1 samples the model's own distribution.
            temperature: f64 = 0.8, Range::AtLeast(0.0) => {
                model("temperature", "temp", 1.0),
                option_of_model(value_name = "T"), request(Number),
            }

            /// Sample among the k most probable tokens; 0 is off.
            top_k: usize = 40, Range::Any => {
                model("top_k", "top_k", 0.0),
                option_of_model(value_name = "K"), request(TopK),
            }

            /// Sample among the most probable tokens whose probabilities add up to this share; 1 is off.
            top_p: f64 = 0.95, Range::AboveUpTo(0.0, 1.0) => {
                model("top_p", "top_p", 1.0),
                option_of_model(value_name = "P"), request(Number),
            }

            /// Maximum number of new tokens.
            max_new_tokens: usize = 256, Range::Any => {
                model("max_new_tokens", ""),
                option_of_model(short = 'n', value_name = "N"),
            }

            /// Let each step draft only as many tokens as save time, up to `gamma`.
            adaptive: bool = true, Range::Any => { request(bool), }

            /// Sample among tokens at least this fraction as probable as the most probable one; 0 is off.
            min_p: f64 = 0.05, Range::Within(0.0, 1.0) => {
                model("min_p", "min_p", 0.0),
                option_of_model(value_name = "P"), request(Number),
            }

            /// Divides the logits of tokens in the prompt or the output so far; 1 is off.
            repetition_penalty: f64 = 1.0, Range::Above(0.0) => {
                model("repetition_penalty", "penalty_repeat", 1.0),
                option_of_model(value_name = "X"), request(Number),
            }

            /// Subtracted from the logits of tokens in the output so far; 0 is off.
            presence_penalty: f64 = 0.0, Range::Finite => {
                option_with_default(value_name = "X"), request(Number),
            }

            /// Subtracted from the logits of tokens once for each time that they occur in the output so far; 0 is off.
            frequency_penalty: f64 = 0.0, Range::Finite => {
                option_with_default(value_name = "X"), request(Number),
            }

            /// Numbers added to the logits of tokens, by their ids.
            logit_bias: Vec<(u32, f64)> = Vec::new(), Range::Numbers => {
                request(LogitBias),
            }

            /// Makes sampling repeatable; if it is left out, each request uses a new one. Rejection and block verification repeat a text only if the drafts are the same (not `adaptive`).
            seed: Option<u64> = None, Range::Any => { option(value_name = "N"), request(Seed), }

            /// Generation stops before the first of these strings.
            stop: Vec<String> = Vec::new(), Range::Lengths(1000) => {
                option(value_name = "TEXT"), request(OneOrMore),
            }

            /// Continue past end-of-text tokens.
            ignore_eos: bool = false, Range::Any => { option(), request(bool), }

            /// Return each token's log-probability, and those of this many of the most probable alternatives.
            logprobs: Option<usize> = None, Range::UpTo(20) => {}

            /// The source of drafts; by default, the one that the decoder was loaded with. A prediction is used in addition to any source but "none".
            draft: Option<DraftKind> = None, Range::Any => { request(DraftKind), }

            /// How drafts are verified: "coupled" (with a seed, exactly the text of plain sampling), "rejection" or "block" (the same distribution, and more accepted tokens).
            verification: Verification = Verification::Coupled, Range::Any => {
                option_with_default(value_name = "RULE"), request(Verification),
            }

            /// A text that the output is likely to resemble, to draft from.
            prediction: Option<String> = None, Range::Any => { request(Prediction), }

            /// Constrains the output to JSON, a JSON schema, a regular expression or a grammar.
            response_format: Option<ResponseFormat> = None, Range::Any => {
                request(ResponseFormatField),
            }
        }
    };
}

#[cfg(feature = "server")]
pub(crate) use settings;

macro_rules! define_config {
    ($(
        #[doc = $doc:tt]
        $name:ident: $type:ty = $default:expr, $range:expr => {
            $(model($json:literal, $gguf:literal $(, $off:literal)?),)?
            $(option_of_model($($of_model:tt)*),)?
            $(option_with_default($($with_default:tt)*),)?
            $(option($($option:tt)*),)?
            $(request($request:ty),)?
        }
    )*) => {
        /// How to generate. Start from the default and set what matters:
        ///
        /// ```
        /// use specdec_rs::SpeculativeConfig;
        /// let config = SpeculativeConfig { gamma: 8, temperature: 0.8, top_k: 40, top_p: 0.9, ..Default::default() };
        /// assert!(config.validate().is_ok());
        /// ```
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct SpeculativeConfig {
            $(
                #[doc = $doc]
                pub $name: $type,
            )*
        }

        impl Default for SpeculativeConfig {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl SpeculativeConfig {
            /// The first field that is out of its range, with its value there.
            fn out_of_range(&self) -> Option<(&'static Setting, String)> {
                let mut settings = SETTINGS.iter();
                $(
                    let setting = settings.next()?;
                    if let Some(value) = self.$name.outside(setting.range) {
                        return Some((setting, value));
                    }
                )*
                None
            }
        }

        /// The settings whose defaults a model's files may give.
        pub(crate) const MODEL_SETTINGS: &[ModelSetting] = &[
            $($(ModelSetting {
                #[cfg(feature = "python")]
                name: stringify!($name),
                json: $json,
                gguf: $gguf,
                off: first(&[$($off)?]),
                #[cfg(all(test, feature = "python"))]
                default: stringify!($default),
                set: |config, value| config.$name = FromNumber::from_number(value),
                #[cfg(feature = "python")]
                copy: |from, to| to.$name = from.$name,
            },)?)*
        ];

        /// Every setting, in the order of the declarations.
        pub(crate) const SETTINGS: &[Setting] = &[
            $(Setting {
                name: stringify!($name),
                range: $range,
                #[cfg(all(test, feature = "python"))]
                doc: $doc,
            },)*
        ];
    };
}

/// A setting whose default a model's files may give.
pub(crate) struct ModelSetting {
    #[cfg(feature = "python")]
    pub(crate) name: &'static str,
    /// Its name in `generation_config.json`.
    pub(crate) json: &'static str,
    /// Its name in GGUF metadata, after `general.sampling.`; empty if it has none.
    pub(crate) gguf: &'static str,
    /// The value with which a sampling setting changes nothing; `None` for one that is no matter of sampling.
    pub(crate) off: Option<f64>,
    #[cfg(all(test, feature = "python"))]
    default: &'static str,
    pub(crate) set: fn(&mut SpeculativeConfig, f64),
    /// Copies the value from one configuration to another.
    #[cfg(feature = "python")]
    pub(crate) copy: fn(&SpeculativeConfig, &mut SpeculativeConfig),
}

#[cfg(feature = "python")]
impl ModelSetting {
    /// The setting of this name, if a model's files may give its default.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        MODEL_SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The general default, as it is declared.
    #[cfg(test)]
    pub(crate) fn shown_default(&self) -> &'static str {
        self.default
    }
}

const fn first(values: &[f64]) -> Option<f64> {
    match values {
        [first, ..] => Some(*first),
        [] => None,
    }
}

/// A setting's type, out of a file's number.
trait FromNumber {
    fn from_number(value: f64) -> Self;
}

impl FromNumber for f64 {
    fn from_number(value: f64) -> Self {
        value
    }
}

impl FromNumber for usize {
    /// Negative numbers turn a setting off, as 0 does.
    fn from_number(value: f64) -> Self {
        value as Self
    }
}

/// What all interfaces say about a setting.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) range: Range,
    /// What it means: the interfaces take it out of the declaration, and the table in docs/guide.md from here.
    #[cfg(all(test, feature = "python"))]
    doc: &'static str,
}

#[cfg(all(test, feature = "python"))]
impl Setting {
    /// What it means.
    pub(crate) fn doc(&self) -> &'static str {
        self.doc.trim()
    }
}

settings!(define_config);

/// Below this temperature decoding is greedy; dividing by less would overflow.
const GREEDY_BELOW: f64 = 1e-5;

impl SpeculativeConfig {
    /// Sampling from the model's own distribution: temperature 1, nothing cut off, no penalty.
    pub fn unmodified() -> Self {
        let mut config = Self::default();
        for setting in MODEL_SETTINGS {
            if let Some(off) = setting.off {
                (setting.set)(&mut config, off);
            }
        }
        config
    }

    /// Whether the most probable token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature < GREEDY_BELOW
    }

    /// Checks every field's range, and fields that exclude each other; the error names the first that is wrong.
    pub fn validate(&self) -> Result<()> {
        if let Some((setting, value)) = self.out_of_range() {
            return Err(Error::invalid(
                setting.name,
                value,
                setting.range.to_string(),
            ));
        }
        if let Some(draft) = self.draft
            && !DraftKind::all().contains(&draft)
        {
            return Err(Error::invalid(
                "draft",
                draft,
                DraftKind::names().join(", "),
            ));
        }
        if self.draft == Some(DraftKind::PREDICTION) && self.prediction.is_none() {
            let expected = "another source, as there is no `prediction` to draft from";
            return Err(Error::invalid("draft", DraftKind::PREDICTION, expected));
        }
        if let Some(format) = &self.response_format {
            format.check_length()?;
        }
        if self.response_format.is_some() && self.ignore_eos {
            let expected =
                "false: a text with a response_format has an end, and nothing may follow it";
            return Err(Error::invalid("ignore_eos", self.ignore_eos, expected));
        }
        Ok(())
    }
}
