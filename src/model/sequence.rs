//! One token sequence of a model that several requests share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::batch_logits::BatchLogits;
use super::info::ModelInfo;
use super::language_model::{Extend, LanguageModel, SequenceId};
use super::logits::{Logits, SpareRows};
use super::target_model::TargetModel;
use super::tree::Parents;
use crate::backend::OutputTiles;
use crate::checked_mutex::{CheckedGuard, CheckedMutex};
use crate::error::{Error, Result};

/// A model whose sequences belong to different requests, which take turns step by step.
#[derive(Clone)]
pub struct SharedModel {
    model: Arc<CheckedMutex<Box<dyn TargetModel>>>,
    /// Sequences that were dropped while the model was computing.
    dropped: Arc<Mutex<Vec<SequenceId>>>,
    spare: Arc<SpareRows>,
    vocab_size: usize,
    context_length: usize,
    max_tree_tokens: usize,
    stretches_beyond: Option<usize>,
    can_fork: bool,
    info: Arc<ModelInfo>,
}

impl SharedModel {
    /// Shares a model.
    pub fn new(model: Box<dyn TargetModel>) -> Self {
        Self {
            vocab_size: model.vocab_size(),
            context_length: model.context_length(),
            max_tree_tokens: model.max_tree_tokens(),
            stretches_beyond: model.stretches_beyond(),
            can_fork: model.can_fork(),
            info: Arc::new(model.info()),
            model: Arc::new(CheckedMutex::new(model)),
            dropped: Arc::default(),
            spare: Arc::default(),
        }
    }

    /// Shares a user's model.
    pub fn of_user(model: impl LanguageModel + 'static) -> Self {
        Self::new(Box::new(Box::new(model) as Box<dyn LanguageModel>))
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Maximum number of tokens in a sequence.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Facts about the model; never waits for it.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The model, once no other request is computing; an error for a user's model that asks for itself.
    pub(crate) fn lock(&self) -> Result<CheckedGuard<'_, Box<dyn TargetModel>>> {
        let mut model = self.model.lock()?;
        // Not while the list is locked: a user's model may drop a sequence as it frees one.
        let dropped = std::mem::take(&mut *self.dropped());
        for sequence in dropped {
            model.free(sequence);
        }
        Ok(model)
    }

    /// Whether this thread is computing with the model.
    pub(crate) fn is_computing_here(&self) -> bool {
        self.model.is_held_here()
    }

    /// How many decoders, sequences and others hold the model.
    #[cfg(feature = "python")]
    pub(crate) fn owners(&self) -> usize {
        Arc::strong_count(&self.model)
    }

    /// Fails for trees that the model doesn't compute: here, since a user's may never look at the parents.
    fn check_trees(&self, batch: &[Append<'_>]) -> Result<()> {
        let most = self.max_tree_tokens;
        for append in batch {
            if most == 0 && append.parents != Parents::Chain {
                let reason = "this model computes no trees: its sequences are chains";
                return Err(Error::Compute(reason.into()));
            }
            append.parents.check(append.tokens.len(), most)?;
        }
        Ok(())
    }

    /// Appends to sequences; on an error they are as before, of the lengths in `undo` where they are known.
    fn extend(
        &self,
        batch: &[Extend<'_>],
        captured: &[&[usize]],
        undo: &[Option<usize>],
        among: Option<&OutputTiles>,
    ) -> Result<Logits> {
        let rows = batch.iter().map(|extend| extend.rows).sum();
        let mut logits = Logits::recycled(self.vocab_size, &self.spare);
        if let Some(among) = among {
            logits.restrict(among);
        }
        let mut model = self.lock()?;
        let extended = model.extend_capturing(batch, captured, &mut logits);
        if let Err(error) = extended.and_then(|()| logits.check(rows)) {
            // A user's model may have appended before it failed; its own error says more than a second one.
            for (extend, length) in batch.iter().zip(undo) {
                if let Some(length) = length {
                    drop(model.truncate(extend.sequence, *length));
                }
            }
            return Err(error);
        }
        Ok(logits)
    }

    /// Frees a sequence now, or when the model is next used.
    ///
    /// Never waits: a user's model may drop a sequence of its own while it computes.
    fn free(&self, sequence: SequenceId) {
        match self.model.try_lock() {
            Some(mut model) => model.free(sequence),
            None => self.dropped().push(sequence),
        }
    }

    fn dropped(&self) -> MutexGuard<'_, Vec<SequenceId>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sequence, freed when dropped.
pub struct TokenSequence {
    model: SharedModel,
    id: SequenceId,
    length: usize,
    /// The layers whose hidden states are wanted.
    captured: Vec<usize>,
    /// Whether a tree follows the accepted tokens.
    in_tree: bool,
}

impl TokenSequence {
    /// An empty sequence.
    pub fn new(model: &SharedModel) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            model: model.clone(),
            id: SequenceId(NEXT.fetch_add(1, Ordering::Relaxed)),
            length: 0,
            captured: Vec::new(),
            in_tree: false,
        }
    }

    /// Asks for hidden states with all logits from now on ([`TargetModel::extend_capturing`]).
    pub fn capture(&mut self, layers: &[usize]) {
        layers.clone_into(&mut self.captured);
    }

    /// Number of tokens in the model's cache.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no tokens were appended.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Maximum number of tokens that it may hold.
    pub fn context_length(&self) -> usize {
        self.model.context_length
    }

    /// Maximum number of tokens that one extension may append if some of them are drafted.
    pub fn room(&self) -> usize {
        let beyond = self
            .model
            .stretches_beyond
            .filter(|beyond| self.length < *beyond);
        beyond.unwrap_or(usize::MAX).min(self.context_length()) - self.length
    }

    /// Number of tokens that the model knows.
    pub fn vocab_size(&self) -> usize {
        self.model.vocab_size
    }

    /// Appends tokens; returns the logits of the last `rows` of them.
    pub fn extend(&mut self, tokens: &[u32], rows: usize) -> Result<Logits> {
        self.extend_among(tokens, rows, None)
    }

    /// [`Self::extend`] that returns the logits of some tokens alone, in their order: of models that are read from files.
    pub(crate) fn extend_among(
        &mut self,
        tokens: &[u32],
        rows: usize,
        among: Option<&OutputTiles>,
    ) -> Result<Logits> {
        self.append(tokens, Parents::Chain, rows, among)
    }

    /// Maximum number of tokens of a tree; 0: the model computes chains alone.
    pub fn max_tree_tokens(&self) -> usize {
        self.model.max_tree_tokens
    }

    /// Appends a tree of tokens, of which [`Self::accept`] keeps one path; returns the logits of its last `rows` tokens.
    ///
    /// `parents` are the indices of the tokens that they follow; `None`: what the sequence holds.
    pub fn extend_tree(
        &mut self,
        tokens: &[u32],
        parents: &[Option<usize>],
        rows: usize,
    ) -> Result<Logits> {
        self.append(tokens, Parents::Tree(parents), rows, None)
    }

    fn append(
        &mut self,
        tokens: &[u32],
        parents: Parents<'_>,
        rows: usize,
        among: Option<&OutputTiles>,
    ) -> Result<Logits> {
        let length = self.length;
        let append = Append {
            sequence: self,
            tokens,
            parents,
            rows,
        };
        let logits = extend_among(&mut [append], among)?.into_logits();
        if logits.is_err() {
            // The rows were lost on their way from the device.
            self.truncate(length)?;
        }
        logits
    }

    /// Of the tree's tokens, keeps those of a path from its root (by their indices), and forgets the others.
    pub fn accept(&mut self, path: &[usize]) -> Result<()> {
        self.model.lock()?.accept(self.id, path)?;
        self.length += path.len();
        self.in_tree = false;
        Ok(())
    }

    /// Forgets all but the first `length` tokens, and a tree after them.
    pub fn truncate(&mut self, length: usize) -> Result<()> {
        if length > self.length {
            let expected = format!("at most the {} tokens held", self.length);
            return Err(Error::invalid("length", length, expected));
        }
        if length < self.length || self.in_tree {
            self.model.lock()?.truncate(self.id, length)?;
            self.length = length;
            self.in_tree = false;
        }
        Ok(())
    }

    /// Goes back to the first `length` tokens, or, where the model can't stop there (recurrent layers), to fewer; returns
    /// how many it holds then.
    pub fn rewind(&mut self, length: usize) -> Result<usize> {
        if length < self.length || self.in_tree {
            let reachable = self.model.lock()?.reachable_length(self.id, length);
            self.truncate(reachable.min(length))?;
        }
        Ok(self.length)
    }

    /// Saves what it takes to [rewind](Self::rewind) to its present length after more is appended. Earlier checkpoints thin out.
    pub fn checkpoint(&mut self) -> Result<()> {
        if !self.in_tree {
            self.model.lock()?.checkpoint(self.id);
        }
        Ok(())
    }

    /// Whether the model can [fork](Self::fork) it.
    pub fn can_fork(&self) -> bool {
        self.model.can_fork
    }

    /// Another sequence that begins with the same tokens.
    pub fn fork(&self) -> Result<Self> {
        self.fork_at(self.length)
    }

    /// Another sequence of the first `length` tokens; of fewer if it holds fewer, or can't go [back](Self::rewind) to as many.
    pub fn fork_at(&self, length: usize) -> Result<Self> {
        let mut copy = Self::new(&self.model);
        {
            let mut model = self.model.lock()?;
            let length = length.min(self.length);
            copy.length = model.reachable_length(self.id, length).min(length);
            model.fork(self.id, copy.id, copy.length)?;
        }
        copy.captured.clone_from(&self.captured);
        Ok(copy)
    }
}

/// What a pass needs for each of its sequences; on the stack, while they are few.
type PerSequence<T> = SmallVec<[T; 4]>;

/// Tokens for one of several sequences that are extended at once.
pub struct Append<'a> {
    /// The sequence.
    pub sequence: &'a mut TokenSequence,
    /// The tokens, in order.
    pub tokens: &'a [u32],
    /// Which token each of them follows: for a tree as [`TokenSequence::extend_tree`] has it.
    pub parents: Parents<'a>,
    /// For how many of the last tokens the logits are wanted.
    pub rows: usize,
}

/// Appends to sequences of one model, in one pass where it can. On an error all are as they were.
///
/// # Panics
/// If they are none, or of different models.
pub fn extend_all(batch: &mut [Append<'_>]) -> Result<BatchLogits> {
    extend_among(batch, None)
}

fn extend_among(batch: &mut [Append<'_>], among: Option<&OutputTiles>) -> Result<BatchLogits> {
    let model = batch[0].sequence.model.clone();
    model.check_trees(batch)?;
    let extends: PerSequence<Extend<'_>> = batch
        .iter()
        .map(|append| {
            assert!(Arc::ptr_eq(&append.sequence.model.model, &model.model));
            Extend {
                sequence: append.sequence.id,
                tokens: append.tokens,
                parents: append.parents,
                rows: append.rows,
            }
        })
        .collect();
    let captured: PerSequence<&[usize]> = batch
        .iter()
        .map(|append| &append.sequence.captured[..])
        .collect();
    let length = |append: &Append<'_>| {
        let sequence = &append.sequence;
        (!sequence.in_tree).then_some(sequence.length)
    };
    let undo: PerSequence<Option<usize>> = batch.iter().map(length).collect();
    let logits = model.extend(&extends, &captured, &undo, among)?;
    let logits = BatchLogits::new(logits, &extends, &captured);
    drop((extends, captured));
    for append in batch {
        match append.parents {
            Parents::Chain => append.sequence.length += append.tokens.len(),
            Parents::Tree(_) => append.sequence.in_tree = !append.tokens.is_empty(),
        }
    }
    Ok(logits)
}

impl Drop for TokenSequence {
    fn drop(&mut self) {
        self.model.free(self.id);
    }
}
