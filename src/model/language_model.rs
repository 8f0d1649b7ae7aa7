//! What speculation sees of a model. Implement [`LanguageModel`] to speculate with one of your own.

use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use super::heads::{DraftHead, EagleFiles};
use super::info::ModelInfo;
use super::tree::Parents;
use crate::backend::HostRows;
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
    /// Of which layers the hidden states of all these tokens are wanted, too: what goes into a layer, or, by the number of
    /// layers, what comes out of the last norm. The same for all of a batch for which any are.
    pub hidden: &'a [usize],
}

/// Next-token scores after each of some tokens: `[rows, vocab_size]`; and hidden states, where they were asked for.
///
/// Dropped logits leave their memory to the next ones of the same model.
#[derive(Debug)]
pub struct Logits {
    rows: HostRows,
    vocab_size: usize,
    hidden: Vec<f32>,
    /// Values of a token's hidden states.
    hidden_width: usize,
    home: Option<Arc<SpareRows>>,
}

/// Memory of logits that were dropped.
pub(super) type SpareRows = Mutex<Vec<HostRows>>;

impl Logits {
    /// No rows yet.
    pub fn new(vocab_size: usize) -> Self {
        Self {
            rows: HostRows::default(),
            vocab_size,
            hidden: Vec::new(),
            hidden_width: 0,
            home: None,
        }
    }

    /// No rows yet, with the memory of earlier ones.
    pub(super) fn recycled(vocab_size: usize, home: &Arc<SpareRows>) -> Self {
        let spare = home.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut rows = spare.unwrap_or_default();
        rows.clear();
        Self {
            rows,
            vocab_size,
            hidden: Vec::new(),
            hidden_width: 0,
            home: Some(home.clone()),
        }
    }

    /// Appends rows of `vocab_size` values each.
    pub fn push(&mut self, rows: &[f32]) {
        self.rows.push(rows);
    }

    /// The logits' rows, and room for so many hidden states, for a backend to fill.
    pub(super) fn parts_mut(&mut self, tokens: usize, width: usize) -> (&mut HostRows, &mut [f32]) {
        self.hidden.resize(tokens * width, 0.0);
        self.hidden_width = width;
        (&mut self.rows, &mut self.hidden)
    }

    /// The hidden states of all tokens appended, `[tokens][layers asked for][hidden size]`.
    pub fn hidden(&self) -> &[f32] {
        &self.hidden
    }

    /// Those of one of the tokens; none where none were asked for.
    ///
    /// # Panics
    /// If there is no such token.
    pub fn hidden_of(&self, token: usize) -> &[f32] {
        &self.hidden[token * self.hidden_width..][..self.hidden_width]
    }

    /// Fails if there are not exactly so many rows.
    pub(super) fn check(&self, rows: usize) -> Result<()> {
        let found = self.rows.values().len();
        if self.vocab_size > 0 && found == rows.saturating_mul(self.vocab_size) {
            return Ok(());
        }
        Err(Error::Compute(format!(
            "the model returned {found} logits where {rows} rows of {} were asked for",
            self.vocab_size
        )))
    }

    /// All of it, as the one sequence's of its batch.
    pub fn view(&self) -> LogitsView<'_> {
        LogitsView {
            logits: self,
            first_row: 0,
            first_token: 0,
            tokens: self.hidden.len() / self.hidden_width.max(1),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.values().len() / self.vocab_size.max(1)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.values().is_empty()
    }

    /// The scores that follow the `row`-th wanted token.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.rows.values()[row * self.vocab_size..(row + 1) * self.vocab_size]
    }

    /// All rows, one after the other.
    pub fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.rows).into_vec()
    }
}

/// Logits of several sequences.
#[derive(Debug)]
pub struct BatchLogits {
    logits: Logits,
    /// Of each sequence the first row, the first token among those whose hidden states were asked for, and their number.
    places: SmallVec<[[usize; 3]; 4]>,
}

impl BatchLogits {
    pub(super) fn new(logits: Logits, batch: &[Extend<'_>]) -> Self {
        let (mut first_row, mut first_token) = (0, 0);
        let place = |extend: &Extend<'_>| {
            let tokens = match extend.hidden {
                [] => 0,
                _ => extend.tokens.len(),
            };
            let place = [first_row, first_token, tokens];
            first_row += extend.rows;
            first_token += tokens;
            place
        };
        Self {
            places: batch.iter().map(place).collect(),
            logits,
        }
    }

    /// All of them.
    pub(super) fn into_logits(self) -> Logits {
        self.logits
    }

    /// What a sequence gets, by its place in the batch.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn of(&self, sequence: usize) -> LogitsView<'_> {
        let [first_row, first_token, tokens] = self.places[sequence];
        LogitsView {
            logits: &self.logits,
            first_row,
            first_token,
            tokens,
        }
    }
}

/// What one sequence of a batch gets of its logits.
#[derive(Debug, Clone, Copy)]
pub struct LogitsView<'a> {
    logits: &'a Logits,
    first_row: usize,
    /// Of the tokens whose hidden states were asked for.
    first_token: usize,
    /// Its tokens among those.
    tokens: usize,
}

impl<'a> LogitsView<'a> {
    /// [`Logits::row`] of the sequence.
    pub fn row(&self, row: usize) -> &'a [f32] {
        self.logits.row(self.first_row + row)
    }

    /// [`Logits::hidden`] of the sequence.
    pub fn hidden(&self) -> &'a [f32] {
        let width = self.logits.hidden_width;
        &self.logits.hidden[self.first_token * width..][..self.tokens * width]
    }

    /// [`Logits::hidden_of`] a token of the sequence.
    pub fn hidden_of(&self, token: usize) -> &'a [f32] {
        match self.tokens {
            0 => &[],
            _ => self.logits.hidden_of(self.first_token + token),
        }
    }
}

impl Drop for Logits {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            let rows = std::mem::take(&mut self.rows);
            home.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(rows);
        }
    }
}

/// A causal language model over token sequences that can be rolled back.
///
/// The logits of a token must depend on the tokens before it in its sequence alone.
pub trait LanguageModel: Send {
    /// Number of tokens; the length of a row of logits.
    fn vocab_size(&self) -> usize;

    /// Most tokens that a sequence may hold.
    fn context_length(&self) -> usize;

    /// Most tokens of a tree; 0: this model computes chains alone.
    fn max_tree_tokens(&self) -> usize {
        0
    }

    /// Appends tokens to sequences, and the wanted rows of each, in the batch's order, to the logits.
    ///
    /// After a tree the sequence waits for [`Self::accept`] or [`Self::truncate`]. On an error the sequences named are
    /// as they were.
    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> Result<()>;

    /// Forgets all but the first `length` tokens of a sequence, and a tree after them.
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

    /// Starts `copy` with the first `length` tokens of `sequence`, without a tree after them.
    fn fork(&mut self, sequence: SequenceId, copy: SequenceId, length: usize) -> Result<()> {
        let _ = (sequence, copy, length);
        Err(Error::Compute("this model cannot fork a sequence".into()))
    }

    /// Forgets a sequence; unknown ones are ignored.
    fn free(&mut self, sequence: SequenceId);

    /// A model of the same weights that computes these layers alone, in this order: a cheap draft for the whole.
    fn with_layers(&self, layers: &[usize]) -> Result<Box<dyn LanguageModel>> {
        let _ = layers;
        Err(Error::unsupported(
            self.info().architecture,
            "it can't leave out layers: use another draft",
        ))
    }

    /// Brings a published head to where this model computes, whose hidden states it reads.
    fn draft_head(&self, files: &EagleFiles) -> Result<Arc<dyn DraftHead>> {
        let _ = files;
        Err(Error::unsupported(
            self.info().architecture,
            "it has no hidden states to draft from: use another draft",
        ))
    }

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

    fn with_layers(&self, layers: &[usize]) -> Result<Box<dyn LanguageModel>> {
        (**self).with_layers(layers)
    }

    fn draft_head(&self, files: &EagleFiles) -> Result<Arc<dyn DraftHead>> {
        (**self).draft_head(files)
    }

    fn info(&self) -> ModelInfo {
        (**self).info()
    }
}
