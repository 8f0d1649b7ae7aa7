//! Retrieval drafters: they look tokens up in texts and tables, without a model, at next to no cost.

mod corpus;
mod departure;
mod grammar;
mod ngram;
mod prediction;
mod recycling;
mod suffix;
mod table;

use super::candidate::Candidate;
use crate::error::Result;
use crate::model::LogitsRow;
use crate::settings::DraftKind;

pub use corpus::{Corpus, CorpusDrafter};
pub(crate) use corpus::{
    Index as CorpusIndex, MAX_TOKENS as MAX_CORPUS_TOKENS, Origin as CorpusOrigin,
};
pub use grammar::GrammarDrafter;
pub use ngram::NgramDrafter;
pub use prediction::PredictionDrafter;
pub use recycling::{RecyclingDrafter, Successors};
pub use table::{ORDERS as TABLE_ORDERS, Table, TableDrafter};

/// Proposes candidates from the text and from earlier ones.
///
/// It follows the text token by token and, while a draft grows, the draft node by node. Nodes are numbered from 0, each after
/// its parent, and are valid until the text grows.
pub trait RetrievalDrafter: Send {
    /// Follows the text, of which these are all tokens so far, and removes all nodes.
    fn follow(&mut self, text: &[u32]) -> Result<()>;

    /// Learns from the target's logits after a text.
    fn learn(&mut self, text: &[u32], logits: LogitsRow<'_>) -> Result<()> {
        let _ = (text, logits);
        Ok(())
    }

    /// Adds the next node: a token after a node (`None`: after the text).
    fn enter(&mut self, parent: Option<usize>, token: u32);

    /// Appends what may follow a node (`None`: the text), most probable first.
    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>);
}

/// The prior of what followed an earlier match of `length` tokens: about the acceptance rate for prompts and answers of any
/// kind, measured with greedy decoding.
pub(super) fn length_prior(length: usize) -> f64 {
    1.0 - 0.75 / (length.max(1) as f64).powf(0.65)
}

/// The feature of a match's length: buckets that get coarser with the length, 0 to 15, in 4 bits.
pub(super) fn length_feature(length: usize) -> u8 {
    match length {
        0..=8 => length as u8,
        9..=12 => 9,
        13..=16 => 10,
        17..=24 => 11,
        25..=32 => 12,
        33..=64 => 13,
        65..=128 => 14,
        _ => 15,
    }
}
