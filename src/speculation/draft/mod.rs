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

/// A chain of proposed tokens, each with the law it was drawn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    tokens: Vec<u32>,
    laws: Vec<Distribution>,
    source: TokenSource,
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

    /// Adds a token and the law it was drawn from, given the history and the tokens before it.
    pub fn push(&mut self, token: u32, law: Distribution) {
        self.tokens.push(token);
        self.laws.push(law);
    }

    /// Keeps the first `length` tokens.
    pub fn truncate(&mut self, length: usize) {
        self.tokens.truncate(length);
        self.laws.truncate(length);
    }

    /// The tokens, in order.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// For each token the law it was drawn from.
    pub fn laws(&self) -> &[Distribution] {
        &self.laws
    }

    /// Who proposed them.
    pub fn source(&self) -> TokenSource {
        self.source
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing is proposed.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// Proposes continuations of one request's tokens.
pub trait DraftSource: Send {
    /// Reads a prompt, or more of it, before anything is to be proposed; a source may put it off.
    fn read(&mut self, prompt: &[u32]) -> Result<()> {
        let _ = prompt;
        Ok(())
    }

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
