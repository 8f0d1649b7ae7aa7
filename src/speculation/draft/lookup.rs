//! Sources without weights: they know at once what may follow, and cost next to nothing.

use super::TokenSource;
use crate::error::Result;

/// A token that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Who proposes it.
    pub source: TokenSource,
    /// What speaks for it, as its source tells cases apart (the length of a match, say), below
    /// [`EVIDENCES`]. How often each comes true is measured.
    pub evidence: u8,
    /// How often such candidates come true, before anything is measured.
    pub prior: f64,
}

/// How many kinds of evidence a source may tell apart.
pub const EVIDENCES: usize = 32;

impl Candidate {
    /// One for which nothing speaks but that its source proposes it.
    pub(super) fn unmarked(token: u32, source: TokenSource) -> Self {
        Self {
            token,
            source,
            evidence: 0,
            prior: 0.6,
        }
    }
}

/// A source without weights.
///
/// It follows the text token by token, and for a draft that is being grown, node by node: nodes are numbered from 0, each
/// after its parent, and stand until the text goes on.
pub trait Lookup: Send {
    /// Reads on in the text, whose tokens so far these are; forgets all nodes.
    fn follow(&mut self, text: &[u32]) -> Result<()>;

    /// Learns the logits that the target gave the tokens behind such a text.
    fn learn(&mut self, text: &[u32], logits: &[f32]) {
        let _ = (text, logits);
    }

    /// Adds the next node: a token behind a node (`None`: the text).
    fn enter(&mut self, parent: Option<usize>, token: u32);

    /// Adds what may follow a node (`None`: the text), likeliest first.
    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>);
}

/// How often what followed the same so many tokens before follows them again: about that of prompts and answers of any
/// kind, as measured with greedy decoding.
pub(super) fn length_prior(length: usize) -> f64 {
    1.0 - 0.75 / (length.max(1) as f64).powf(0.65)
}

/// Evidence that is a length, told apart less and less finely: up to 15, in 4 bits.
pub(super) fn length_evidence(length: usize) -> u8 {
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
