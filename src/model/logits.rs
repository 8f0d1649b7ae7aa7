//! Logits, and the hidden states that draft heads read beside them.
//!
//! A pass leaves its logits where it computed them. [`LogitsRow`] asks for what is needed of a row: the likeliest token, which
//! a device finds itself, or all of its values, for which the rows are read once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use smallvec::SmallVec;

use super::language_model::Extend;
use super::target_model::captured_tokens;
use crate::backend::{self, Backend, DeviceRows, HostRows};
use crate::error::{Error, Result};

/// Next-token scores after each of some tokens: `[rows, vocab_size]`; and hidden states, where they were asked for.
///
/// Dropped logits leave their memory to the next ones of the same model.
#[derive(Debug)]
pub struct Logits {
    rows: HostRows,
    /// Rows that were left on a device, in place of those on the host.
    device: RowsOnDevice,
    vocab_size: usize,
    hidden: Vec<f32>,
    /// Values of a token's hidden states.
    hidden_width: usize,
    home: Option<Arc<SpareRows>>,
}

/// Rows that are on a device, and what was asked of them so far.
#[derive(Debug, Default)]
struct RowsOnDevice {
    parts: Vec<Box<dyn DeviceRows>>,
    read: OnceLock<HostRows>,
    argmax: OnceLock<Vec<(u32, f32)>>,
}

impl RowsOnDevice {
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    fn read(&self) -> Result<&HostRows> {
        if let Some(read) = self.read.get() {
            return Ok(read);
        }
        let mut rows = HostRows::default();
        for part in &self.parts {
            part.read(&mut rows)?;
        }
        Ok(self.read.get_or_init(|| rows))
    }

    fn argmax(&self, row: usize) -> Result<(u32, f32)> {
        if let Some(argmax) = self.argmax.get() {
            return Ok(argmax[row]);
        }
        let mut argmax = Vec::with_capacity(self.len());
        for part in &self.parts {
            argmax.extend(part.argmax()?);
        }
        Ok(self.argmax.get_or_init(|| argmax)[row])
    }
}

/// Memory of logits that were dropped.
pub(super) type SpareRows = Mutex<Vec<HostRows>>;

impl Logits {
    /// No rows yet.
    pub fn new(vocab_size: usize) -> Self {
        Self {
            rows: HostRows::default(),
            device: RowsOnDevice::default(),
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
            device: RowsOnDevice::default(),
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

    /// Appends the rows of a backend.
    pub(super) fn append<B: Backend>(&mut self, backend: &B, rows: B::Activations) -> Result<()> {
        match backend.leave_on_device(&rows) {
            Some(rows) => self.device.parts.push(rows),
            None => backend.read(rows, &mut self.rows)?,
        }
        Ok(())
    }

    /// Makes room for the hidden states of so many tokens.
    pub(super) fn begin_hidden(&mut self, tokens: usize, width: usize) {
        self.hidden.resize(tokens * width, 0.0);
        self.hidden_width = width;
    }

    pub(super) fn hidden_mut(&mut self) -> &mut [f32] {
        &mut self.hidden
    }

    /// Reads the rows that were left on a device.
    pub(super) fn bring_to_host(&mut self) -> Result<()> {
        if !self.device.parts.is_empty() {
            self.device.read()?;
            let device = std::mem::take(&mut self.device);
            let read = device.read.into_inner().unwrap_or_default();
            self.rows.push(read.values());
        }
        Ok(())
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
        let found = self.rows.values().len() + self.device.len() * self.vocab_size;
        if self.vocab_size > 0 && found == rows.saturating_mul(self.vocab_size) {
            return Ok(());
        }
        Err(Error::Compute(format!(
            "the model returned {found} logits where {rows} rows of {} were asked for",
            self.vocab_size
        )))
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

    /// All of them, on the host.
    pub(super) fn into_logits(mut self) -> Result<Logits> {
        self.logits.bring_to_host()?;
        Ok(self.logits)
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
    /// The scores that follow the sequence's `row`-th requested token.
    pub fn row(&self, row: usize) -> LogitsRow<'a> {
        let row = self.share.first_row + row;
        LogitsRow(match self.logits.device.parts.is_empty() {
            true => Row::Host(self.logits.row(row)),
            false => Row::Device(self.logits, row),
        })
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

/// One row of logits, on the host or on a device.
#[derive(Debug, Clone, Copy)]
pub struct LogitsRow<'a>(Row<'a>);

#[derive(Debug, Clone, Copy)]
enum Row<'a> {
    Host(&'a [f32]),
    Device(&'a Logits, usize),
}

impl<'a> LogitsRow<'a> {
    /// All values, `[vocab_size]`. The first row of a pass that is asked for brings all of them to the host.
    pub fn values(self) -> Result<&'a [f32]> {
        match self.0 {
            Row::Host(values) => Ok(values),
            Row::Device(logits, row) => {
                let width = logits.vocab_size;
                Ok(&logits.device.read()?.values()[row * width..][..width])
            }
        }
    }

    /// The likeliest token and its logit. Of equal ones the host takes the first, a device any, but always the same.
    pub fn argmax(self) -> Result<(u32, f32)> {
        if let Row::Device(logits, row) = self.0 {
            let (token, logit) = logits.device.argmax(row)?;
            if logit.is_finite() {
                return Ok((token, logit));
            }
        }
        self.values().map(backend::argmax)
    }

    /// The `count` likeliest tokens, the likeliest first.
    pub fn top_k(self, count: usize) -> Result<Vec<u32>> {
        Ok(backend::top_k(self.values()?, count))
    }
}

impl<'a> From<&'a [f32]> for LogitsRow<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self(Row::Host(values))
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Rows that count how often they are read.
    #[derive(Debug)]
    struct Counted(Vec<f32>, Arc<AtomicUsize>);

    impl DeviceRows for Counted {
        fn len(&self) -> usize {
            self.0.len() / 3
        }

        fn read(&self, rows: &mut HostRows) -> crate::backend::Result<()> {
            self.1.fetch_add(1, Ordering::Relaxed);
            rows.push(&self.0);
            Ok(())
        }

        fn argmax(&self) -> crate::backend::Result<Vec<(u32, f32)>> {
            Ok(self.0.chunks(3).map(backend::argmax).collect())
        }
    }

    #[test]
    fn rows_on_a_device_are_read_when_their_values_are_asked_for() {
        let reads = Arc::new(AtomicUsize::new(0));
        let mut logits = Logits::new(3);
        for values in [vec![1.0, 5.0, 2.0], vec![9.0, 8.0, 7.0, 0.0, 0.0, 4.0]] {
            logits
                .device
                .parts
                .push(Box::new(Counted(values, reads.clone())));
        }
        logits.check(3).unwrap();
        assert!(logits.check(2).is_err());
        let extend = |rows| Extend {
            sequence: crate::model::SequenceId(0),
            tokens: &[1, 2],
            parents: crate::model::Parents::Chain,
            rows,
        };
        let logits = BatchLogits::new(logits, &[extend(1), extend(2)], &[]);
        assert_eq!(logits.of(0).row(0).argmax().unwrap(), (1, 5.0));
        assert_eq!(logits.of(1).row(1).argmax().unwrap(), (2, 4.0));
        assert_eq!(reads.load(Ordering::Relaxed), 0);
        assert_eq!(logits.of(1).row(0).values().unwrap(), [9.0, 8.0, 7.0]);
        assert_eq!(logits.of(0).row(0).top_k(2).unwrap(), [1, 2]);
        assert_eq!(reads.load(Ordering::Relaxed), 2, "each part once");
        let host = logits.into_logits().unwrap();
        assert_eq!((host.len(), host.row(2)), (3, &[0.0, 0.0, 4.0][..]));
        assert_eq!(reads.load(Ordering::Relaxed), 2);
    }
}
