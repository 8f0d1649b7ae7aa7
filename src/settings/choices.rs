//! Settings that are one of a few names.

use std::str::FromStr;

use strum::VariantArray;

use crate::error::{Error, Result};

/// Where drafted tokens come from. What a request's prediction and response format propose is used besides, unless it is
/// `None`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, strum::Display, VariantArray,
)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum DraftKind {
    /// All of the decoder's sources together: step by step, the one with the best estimate.
    Auto,
    /// No drafts: plain decoding.
    None,
    /// Prompt lookup: what followed the last few tokens at an earlier position.
    Ngram,
    /// The decoder's draft model.
    Model,
    /// The request's own prediction.
    Prediction,
    /// What followed the same tokens in texts that the decoder learned from.
    Table,
    /// What the target found probable after the same token before.
    Recycling,
}

/// How drafted tokens are checked against the target's distribution. With any of them the output follows that distribution;
/// at temperature 0 all three are equality.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, strum::Display, VariantArray,
)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Verification {
    /// A position's noise chooses the target's token, and a drafted one is accepted if it is that one: the output is the
    /// same token for token as without speculation, given the seed (2408.07978).
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
}

/// A setting that is one of a few names.
pub(crate) trait Choice: VariantArray + ToString + Copy {
    /// The setting.
    const SETTING: &'static str;

    /// All names, in their order.
    fn names() -> Vec<String> {
        Self::VARIANTS.iter().map(ToString::to_string).collect()
    }
}

impl Choice for DraftKind {
    const SETTING: &'static str = "draft";
}

impl Choice for Verification {
    const SETTING: &'static str = "verification";
}

fn parse<T: Choice>(name: &str) -> Result<T> {
    let mut known = T::VARIANTS.iter().copied();
    known
        .find(|choice| choice.to_string() == name)
        .ok_or_else(|| Error::invalid(T::SETTING, name, T::names().join(", ")))
}

macro_rules! parse_by_name {
    ($($choice:ty),*) => {
        $(
            impl FromStr for $choice {
                type Err = Error;

                fn from_str(name: &str) -> Result<Self> {
                    parse(name)
                }
            }

            // By hand, as the derived one takes `{"name": null}` for a name, too.
            impl<'de> serde::Deserialize<'de> for $choice {
                fn deserialize<D: serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> std::result::Result<Self, D::Error> {
                    let name = String::deserialize(deserializer)?;
                    parse(&name).map_err(serde::de::Error::custom)
                }
            }
        )*
    };
}

parse_by_name!(DraftKind, Verification);
