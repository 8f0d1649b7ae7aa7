//! What speculation sees of a model. Implement [`LanguageModel`] to speculate with one of your own.

use super::info::ModelInfo;
use super::logits::Logits;
use super::tree::Parents;
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
    /// Which token each of them follows.
    pub parents: Parents<'a>,
    /// For how many of the last tokens the logits are wanted; at most `tokens.len()`.
    pub rows: usize,
}

/// A causal language model over token sequences that can be rolled back.
///
/// The logits of a token must depend on the tokens before it in its sequence alone.
pub trait LanguageModel: Send {
    /// Number of tokens; the length of a row of logits.
    fn vocab_size(&self) -> usize;

    /// Maximum number of tokens that a sequence may hold.
    fn context_length(&self) -> usize;

    /// Maximum number of tokens of a tree; 0: this model computes chains alone.
    fn max_tree_tokens(&self) -> usize {
        0
    }

    /// Appends tokens to sequences, and the wanted rows of each, in the batch's order, to the logits.
    ///
    /// After a tree the sequence waits for [`Self::accept`] or [`Self::truncate`]. On an error the sequences named are
    /// as they were.
    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> Result<()>;

    /// The most tokens, up to `length`, that a sequence can be rolled back to: fewer where a layer's state can't be truncated
    /// (recurrent layers), in which case the tokens after them are appended again.
    fn reachable_length(&self, sequence: SequenceId, length: usize) -> usize {
        let _ = sequence;
        length
    }

    /// Saves what it takes to roll a sequence back to its present length after more is appended; earlier checkpoints may be dropped
    /// for it.
    fn checkpoint(&mut self, sequence: SequenceId) {
        let _ = sequence;
    }

    /// Forgets all but the first `length` tokens of a sequence, which [it can](Self::reachable_length) be rolled back to, and a
    /// tree after them.
    fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()>;

    /// Of a tree's tokens, keeps those of a path from its root (by their indices), and forgets the others.
    fn accept(&mut self, sequence: SequenceId, path: &[usize]) -> Result<()> {
        let _ = (sequence, path);
        Err(Error::Compute("this model computes no trees".into()))
    }

    /// Whether it can [fork](Self::fork) sequences. Where it can't, later requests prefill their whole prompts.
    fn can_fork(&self) -> bool {
        false
    }

    /// Starts `copy` with the first `length` tokens of `sequence`, which [it can](Self::reachable_length) be rolled back to,
    /// without a tree after them.
    fn fork(&mut self, sequence: SequenceId, copy: SequenceId, length: usize) -> Result<()> {
        let _ = (sequence, copy, length);
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

/// A boxed model is a model.
impl<M: LanguageModel + ?Sized> LanguageModel for Box<M> {
    fn vocab_size(&self) -> usize {
        (**self).vocab_size()
    }

    fn context_length(&self) -> usize {
        (**self).context_length()
    }

    fn max_tree_tokens(&self) -> usize {
        (**self).max_tree_tokens()
    }

    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> Result<()> {
        (**self).extend(batch, logits)
    }

    fn reachable_length(&self, sequence: SequenceId, length: usize) -> usize {
        (**self).reachable_length(sequence, length)
    }

    fn checkpoint(&mut self, sequence: SequenceId) {
        (**self).checkpoint(sequence);
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()> {
        (**self).truncate(sequence, length)
    }

    fn accept(&mut self, sequence: SequenceId, path: &[usize]) -> Result<()> {
        (**self).accept(sequence, path)
    }

    fn can_fork(&self) -> bool {
        (**self).can_fork()
    }

    fn fork(&mut self, sequence: SequenceId, copy: SequenceId, length: usize) -> Result<()> {
        (**self).fork(sequence, copy, length)
    }

    fn free(&mut self, sequence: SequenceId) {
        (**self).free(sequence);
    }

    fn info(&self) -> ModelInfo {
        (**self).info()
    }
}
