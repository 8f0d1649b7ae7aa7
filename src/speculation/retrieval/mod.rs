//! Retrieval drafters: they look tokens up in texts and tables, without a model, at next to no cost.

mod grammar;
mod ngram;
mod prediction;
mod recycling;
mod suffix;
mod table;

use super::candidate::Candidate;
use crate::error::Result;

pub use grammar::GrammarDrafter;
pub use ngram::NgramDrafter;
pub use prediction::PredictionDrafter;
pub use recycling::{RecyclingDrafter, Successors};
pub use table::{ORDERS as TABLE_ORDERS, Table, TableDrafter};

/// Proposes candidates out of what it has seen.
///
/// It follows the text token by token; and while a draft grows, node by node: nodes are numbered from 0, each after its parent,
/// and last until the text goes on.
pub trait RetrievalDrafter: Send {
    /// Follows the text, whose tokens so far these are; forgets all nodes.
    fn follow(&mut self, text: &[u32]) -> Result<()>;

    /// Learns from the logits that the target gave after such a text.
    fn learn(&mut self, text: &[u32], logits: &[f32]) {
        let _ = (text, logits);
    }

    /// Adds the next node: a token after a node (`None`: after the text).
    fn enter(&mut self, parent: Option<usize>, token: u32);

    /// Appends what may follow a node (`None`: the text), most probable first.
    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>);
}

/// How often what followed the same so many tokens before follows them again: about that of prompts and answers of any
/// kind, as measured with greedy decoding.
pub(super) fn length_prior(length: usize) -> f64 {
    1.0 - 0.75 / (length.max(1) as f64).powf(0.65)
}

/// Evidence that is a length, told apart less and less finely: up to 15, in 4 bits.
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
