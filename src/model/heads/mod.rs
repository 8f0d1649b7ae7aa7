//! Draft heads, which read the target's hidden states: what speculation sees of one, and those that are published.

mod eagle;

use crate::error::Result;
use crate::model::info::ModelInfo;
pub use eagle::EagleFiles;
pub(super) use eagle::{Eagle, Host};

/// A head, for any number of sequences.
pub trait DraftHead: Send + Sync {
    /// Before which of the target's layers the hidden states that it reads are captured; their number: after the last norm.
    fn captured_layers(&self) -> &[usize];

    /// How many values of hidden states the target has for a token.
    fn width(&self) -> usize;

    /// The target's token of each of the head's; `None`: they are the same.
    fn to_target(&self) -> Option<&[u32]>;

    /// An empty sequence.
    fn begin(&self) -> Result<Box<dyn HeadSequence>>;

    /// Facts for reports.
    fn info(&self) -> ModelInfo;
}

/// What a head reads with a token: the features of the token before it.
#[derive(Debug, Clone, Copy)]
pub enum Features<'a> {
    /// The target's hidden states, `[tokens][captured layers][hidden size]`.
    Target(&'a [f32]),
    /// What the head gave itself, `[tokens][hidden size]`.
    Own(&'a [f32]),
}

/// What a head gives after the last of some tokens.
#[derive(Debug, Clone)]
pub struct HeadOutput {
    /// Scores of its own tokens.
    pub logits: Vec<f32>,
    /// The feature of the next token.
    pub feature: Vec<f32>,
}

/// One sequence of a head.
pub trait HeadSequence: Send {
    /// Appends tokens, at least one, with their features.
    fn extend(&mut self, tokens: &[u32], features: Features<'_>) -> Result<HeadOutput>;

    /// Forgets all but the first `length` tokens.
    fn truncate(&mut self, length: usize);

    /// How many more tokens it may hold.
    fn room(&self) -> usize;
}
