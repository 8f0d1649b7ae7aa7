//! Drafts: tokens that the target may write next, and where they come from.

mod forced;
mod head;
mod lookup;
mod model;
mod ngram;
mod offered;
mod prediction;
mod reader;
mod recycling;
mod retokenizer;
mod sampler;
mod suffix;
mod table;
mod text;
mod tree;
mod vocabulary;

use std::fmt;

use crate::error::Result;

pub use forced::ForcedLookup;
pub use head::HeadDraft;
pub use lookup::{Candidate, EVIDENCES, Lookup};
pub use model::ModelDraft;
pub use ngram::NgramLookup;
pub use offered::OfferedLookup;
pub use prediction::PredictionLookup;
pub use recycling::{RecyclingLookup, Successors};
pub use sampler::{Drawing, Sampler};
pub use table::{ORDERS as TABLE_ORDERS, Table, TableLookup};
pub use text::TextDraft;
pub use tree::Draft;
pub use vocabulary::{OtherVocabulary, Vocabulary};

/// Who wrote a token first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
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
    /// What the target found likely behind the same token before.
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

/// A source whose tokens take time: proposes continuations of one request's tokens.
pub trait DraftSource: Send {
    /// Of which layers of the target it wants the hidden states ([`Extend::hidden`](crate::Extend::hidden)).
    fn watched(&self) -> &[usize] {
        &[]
    }

    /// Takes those of the tokens that the target has read since.
    fn observe(&mut self, hidden: &[f32]) {
        let _ = hidden;
    }

    /// Reads a text, or more of it, before anything is to be proposed; a source may put it off.
    fn read(&mut self, prompt: &[u32]) -> Result<()> {
        let _ = prompt;
        Ok(())
    }

    /// At most `limit` tokens that may follow `history`, each behind the one before it; fewer, or none, where it knows no
    /// better. Alternatives to them may come behind: of a tree, a target that computes none gets the first chain.
    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft>;
}
