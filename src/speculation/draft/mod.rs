//! Drafts: tokens that the target may write next, and where they come from.

mod forced;
mod model;
mod ngram;
mod prediction;
mod suffix;
mod tree;

use std::fmt;

use crate::error::Result;

pub use forced::{ForcedDraft, permitted};
pub use model::{Drawing, ModelDraft};
pub use ngram::NgramDraft;
pub use prediction::PredictionDraft;
pub use tree::Draft;

/// Who wrote a token first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
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
    /// A source of the caller's own.
    Custom,
}

impl TokenSource {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Custom as usize + 1;
}

/// What a source could propose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prospect {
    /// Whose tokens they would be.
    pub source: TokenSource,
    /// How many, at most; 0: it knows nothing.
    pub tokens: usize,
    /// What speaks for the first of them, such as the tokens before it that agree; each further one has one more to speak
    /// for it, if it is reached.
    pub evidence: usize,
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Ngram => "ngram",
            Self::Model => "model",
            Self::Grammar => "grammar",
            Self::Prediction => "prediction",
            Self::Custom => "custom",
        })
    }
}

/// Proposes continuations of one request's tokens.
pub trait DraftSource: Send {
    /// Reads a prompt, or more of it, before anything is to be proposed; a source may put it off.
    fn read(&mut self, prompt: &[u32]) -> Result<()> {
        let _ = prompt;
        Ok(())
    }

    /// What it could propose behind `history`.
    fn prospect(&mut self, history: &[u32]) -> Result<Prospect> {
        let _ = history;
        Ok(Prospect {
            source: TokenSource::Custom,
            tokens: usize::MAX,
            evidence: 0,
        })
    }

    /// At most `limit` tokens that may follow `history`; fewer, or none, where it knows no better. Of a tree, a target
    /// that computes none gets the first chain.
    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft>;
}
