//! Drafts: tokens that the target may write next, and where they come from.

mod model;
mod ngram;

use std::fmt;

use crate::error::Result;
use crate::sampling::Distribution;

pub use model::ModelDraft;
pub use ngram::NgramDraft;

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
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Ngram => "ngram",
            Self::Model => "model",
        })
    }
}

/// A chain of proposed tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The tokens, in order.
    pub tokens: Vec<u32>,
    /// For each token the law it was drawn from, given those before it.
    pub laws: Vec<Distribution>,
    /// Who proposed them.
    pub source: TokenSource,
}

impl Draft {
    /// No tokens.
    pub fn empty(source: TokenSource) -> Self {
        Self {
            tokens: Vec::new(),
            laws: Vec::new(),
            source,
        }
    }
}

/// Proposes continuations of one request's tokens.
pub trait DraftSource: Send {
    /// At most `limit` tokens that may follow `history`; fewer, or none, where it knows no better.
    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft>;
}

/// Plain decoding: never proposes anything.
pub struct NoDraft;

impl DraftSource for NoDraft {
    fn propose(&mut self, _history: &[u32], _limit: usize) -> Result<Draft> {
        Ok(Draft::empty(TokenSource::Target))
    }
}
