//! What speculation sees of a model. Implement [`LanguageModel`] to speculate with one of your own.

use crate::error::{Error, Result};

/// Names one token sequence that a model holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Tokens to append to one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Extend<'a> {
    /// The sequence; it begins, empty, when its id is first seen.
    pub sequence: SequenceId,
    /// The tokens, in order.
    pub tokens: &'a [u32],
    /// For how many of the last tokens the logits are wanted; at most `tokens.len()`.
    pub rows: usize,
}

/// Next-token scores after each of some tokens: `[rows, vocab_size]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    values: Vec<f32>,
    vocab_size: usize,
}

impl Logits {
    /// Rows of `vocab_size` values each, one behind the other.
    pub fn new(values: Vec<f32>, vocab_size: usize) -> Result<Self> {
        if vocab_size == 0 || !values.len().is_multiple_of(vocab_size) {
            return Err(Error::Compute(format!(
                "the model returned {} logits, which are not rows of {vocab_size}",
                values.len()
            )));
        }
        Ok(Self { values, vocab_size })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.vocab_size
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The scores that follow the `row`-th wanted token.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.vocab_size..(row + 1) * self.vocab_size]
    }

    /// All rows, one behind the other.
    pub fn into_vec(self) -> Vec<f32> {
        self.values
    }
}

/// Facts about a model, for people and reports.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct ModelInfo {
    /// The family, as config.json's `model_type` names it.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of the weights in memory.
    pub bytes: u64,
    /// How most weights are stored.
    pub quantization: String,
    /// Where it computes.
    pub device: String,
    /// With which kernels.
    pub kernels: String,
    /// Threads of the processor that compute.
    pub threads: usize,
    /// Tokens that fit its context.
    pub context_length: usize,
    /// Tokens that it knows.
    pub vocab_size: usize,
}

/// A causal language model over token sequences that can be rolled back.
///
/// The logits of a token must depend on the tokens before it in its sequence alone.
pub trait LanguageModel: Send {
    /// Number of tokens; the length of a row of logits.
    fn vocab_size(&self) -> usize;

    /// Most tokens that a sequence may hold.
    fn context_length(&self) -> usize;

    /// Appends tokens to sequences; returns the wanted rows of each, in the batch's order.
    ///
    /// On an error the sequences named are as they were.
    fn extend(&mut self, batch: &[Extend<'_>]) -> Result<Vec<Logits>>;

    /// Forgets all but the first `length` tokens of a sequence.
    fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()>;

    /// Begins `copy` with the tokens of `sequence`.
    fn fork(&mut self, sequence: SequenceId, copy: SequenceId) -> Result<()> {
        let _ = (sequence, copy);
        Err(Error::Compute("this model cannot fork a sequence".into()))
    }

    /// Forgets a sequence; unknown ones are ignored.
    fn free(&mut self, sequence: SequenceId);

    /// Facts for reports.
    fn info(&self) -> ModelInfo {
        ModelInfo {
            architecture: "custom".into(),
            context_length: self.context_length(),
            vocab_size: self.vocab_size(),
            ..ModelInfo::default()
        }
    }
}
