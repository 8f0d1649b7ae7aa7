//! Logits, and the hidden states that draft heads read beside them.

use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;

use super::language_model::Extend;
use super::target_model::captured_tokens;
use crate::backend::HostRows;
use crate::error::{Error, Result};

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
            share: Share {
                tokens: self.hidden.len() / self.hidden_width.max(1),
                ..Share::default()
            },
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
    /// One for each sequence.
    shares: SmallVec<[Share; 4]>,
}

/// What of a batch's logits is one sequence's.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    first_row: usize,
    /// The first of its tokens among those whose hidden states were asked for, and their number.
    first_token: usize,
    tokens: usize,
}

impl BatchLogits {
    /// The logits of a batch, for whose sequences the hidden states of these layers were asked for.
    pub(super) fn new(logits: Logits, batch: &[Extend<'_>], captured: &[&[usize]]) -> Self {
        let mut next = Share::default();
        let share = |(index, extend): (usize, &Extend<'_>)| {
            let share = Share {
                tokens: captured_tokens(extend, captured.get(index)),
                ..next
            };
            next.first_row += extend.rows;
            next.first_token += share.tokens;
            share
        };
        Self {
            shares: batch.iter().enumerate().map(share).collect(),
            logits,
        }
    }

    /// All of them.
    pub(super) fn into_logits(self) -> Logits {
        self.logits
    }

    /// What a sequence gets, by its index in the batch.
    ///
    /// # Panics
    /// If there is no such sequence.
    pub fn of(&self, sequence: usize) -> LogitsView<'_> {
        LogitsView {
            logits: &self.logits,
            share: self.shares[sequence],
        }
    }
}

/// One sequence's logits of a batch.
#[derive(Debug, Clone, Copy)]
pub struct LogitsView<'a> {
    logits: &'a Logits,
    share: Share,
}

impl<'a> LogitsView<'a> {
    /// [`Logits::row`] of the sequence.
    pub fn row(&self, row: usize) -> &'a [f32] {
        self.logits.row(self.share.first_row + row)
    }

    /// [`Logits::hidden`] of the sequence.
    pub fn hidden(&self) -> &'a [f32] {
        let width = self.logits.hidden_width;
        &self.logits.hidden[self.share.first_token * width..][..self.share.tokens * width]
    }

    /// [`Logits::hidden_of`] a token of the sequence.
    pub fn hidden_of(&self, token: usize) -> &'a [f32] {
        match self.share.tokens {
            0 => &[],
            _ => self.logits.hidden_of(self.share.first_token + token),
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
