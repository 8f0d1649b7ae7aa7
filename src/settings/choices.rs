//! Settings that are one of a few names.

use std::str::FromStr;

use serde::Deserialize;
use strum::VariantArray;

use crate::error::{Error, Result};
use crate::names::closest;

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
pub(crate) trait Choice: ToString + Copy {
    /// The setting.
    const SETTING: &'static str;

    /// All choices, in their order.
    fn all() -> Vec<Self>;

    /// All names, in their order.
    fn names() -> Vec<String> {
        Self::all().iter().map(ToString::to_string).collect()
    }

    /// The choice of this name, in upper or lower case.
    fn parse(name: &str) -> Result<Self> {
        let mut all = Self::all().into_iter();
        all.find(|choice| choice.to_string().eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let names = Self::names();
                let meant = closest(name, names.iter().map(String::as_str));
                let hint = meant.map(|meant| format!(" (did you mean {meant}?)"));
                let expected = names.join(", ") + &hint.unwrap_or_default();
                Error::invalid(Self::SETTING, name, expected)
            })
    }

    /// The choice whose name is deserialized: unlike serde's derived code, this refuses `{"name": null}`.
    fn deserialize_name<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).map_err(serde::de::Error::custom)
    }
}

impl Choice for Verification {
    const SETTING: &'static str = "verification";

    fn all() -> Vec<Self> {
        Self::VARIANTS.to_vec()
    }
}

impl FromStr for Verification {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

impl<'de> Deserialize<'de> for Verification {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_name(deserializer)
    }
}
