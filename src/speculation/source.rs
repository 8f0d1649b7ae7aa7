//! Which drafter proposed a token.

use std::fmt;

/// Who wrote a token first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum TokenSource {
    /// The target itself.
    Target,
    /// Prompt lookup.
    Ngram,
    /// The draft model.
    Model,
    /// The response format, which left no choice.
    Grammar,
    /// The text that the caller expects.
    Prediction,
    /// What followed the same tokens in other texts.
    Table,
    /// What the target found likely after the same token before.
    Recycling,
    /// A source of the caller's own.
    Custom,
}

impl TokenSource {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Custom as usize + 1;
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Ngram => "ngram",
            Self::Model => "model",
            Self::Grammar => "grammar",
            Self::Prediction => "prediction",
            Self::Table => "table",
            Self::Recycling => "recycling",
            Self::Custom => "custom",
        })
    }
}
