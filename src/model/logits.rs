//! Logits, and the hidden states that draft heads read beside them.
//!
//! A pass leaves its logits where it computed them. [`LogitsRow`] asks for what is needed of a row: the token with the highest
//! logit, which a device finds itself, or all of its values, for which the rows are read once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::backend::{self, Backend, DeviceRows, HostRows, MAX_TREE_ROWS, OutputTiles};
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
    /// The tokens that there are scores of, if not all.
    among: Option<OutputTiles>,
    /// Whether weights were brought for the pass that no other had used.
    used_new_weights: bool,
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

/// Rows that may stay on a device: more than a step verifies are read at once.
const MAX_ROWS_ON_DEVICE: usize = MAX_TREE_ROWS;

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
            among: None,
            used_new_weights: false,
            home: None,
        }
    }

    /// No rows yet, with the memory of earlier ones.
    pub(super) fn recycled(vocab_size: usize, home: &Arc<SpareRows>) -> Self {
        let spare = home.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut logits = Self::new(vocab_size);
        logits.rows = spare.unwrap_or_default();
        logits.rows.clear();
        logits.home = Some(home.clone());
        logits
    }

    /// Asks for the scores of these tokens alone, in their order.
    pub(super) fn restrict(&mut self, among: &OutputTiles) {
        self.vocab_size = among.len();
        self.among = Some(among.clone());
    }

    /// The tokens whose scores are asked for; `None`: all.
    pub(super) fn among(&self) -> Option<&OutputTiles> {
        self.among.as_ref()
    }

    /// Whether the pass took time that others won't take, since it was the first to use some weights.
    pub fn used_new_weights(&self) -> bool {
        self.used_new_weights
    }

    pub(super) fn set_used_new_weights(&mut self) {
        self.used_new_weights = true;
    }

    /// Appends rows of `vocab_size` values each.
    pub fn push(&mut self, rows: &[f32]) {
        self.rows.push(rows);
    }

    /// Appends the rows of a backend. A few may stay on the device, if a [`BatchLogits`](super::BatchLogits) is to be made of
    /// them.
    pub(super) fn append<B: Backend>(&mut self, backend: &B, rows: B::Activations) -> Result<()> {
        let may_stay = self.home.is_some() && self.rows.values().is_empty();
        if may_stay && let Some(rows) = backend.leave_on_device(&rows) {
            self.leave(rows);
            if self.device.len() > MAX_ROWS_ON_DEVICE {
                self.bring_to_host()?;
            }
            return Ok(());
        }
        Ok(backend.read(rows, &mut self.rows)?)
    }

    /// Appends rows that stay on a device.
    pub(super) fn leave(&mut self, rows: Box<dyn DeviceRows>) {
        self.device.parts.push(rows);
    }

    /// Makes room for the hidden states of so many tokens.
    pub(super) fn begin_hidden(&mut self, tokens: usize, width: usize) {
        self.hidden.resize(tokens * width, 0.0);
        self.hidden_width = width;
    }

    pub(super) fn hidden_mut(&mut self) -> &mut [f32] {
        &mut self.hidden
    }

    /// Reads the rows that were left on a device, unless they were read before.
    pub(super) fn bring_to_host(&mut self) -> Result<()> {
        let device = std::mem::take(&mut self.device);
        if let Some(read) = device.read.into_inner() {
            self.rows.push(read.values());
            return Ok(());
        }
        let mut parts = device.parts.into_iter();
        Ok(parts.try_for_each(|part| part.read(&mut self.rows))?)
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

    /// Those of `count` tokens, from one on.
    pub(super) fn hidden_of_tokens(&self, first: usize, count: usize) -> &[f32] {
        &self.hidden[first * self.hidden_width..][..count * self.hidden_width]
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

/// One row of logits, on the host or on a device.
#[derive(Debug, Clone, Copy)]
pub struct LogitsRow<'a>(Row<'a>);

#[derive(Debug, Clone, Copy)]
enum Row<'a> {
    TargetParts(&'a [f32]),
    Device(&'a Logits, usize),
}

impl<'a> LogitsRow<'a> {
    /// A row of some logits.
    pub(super) fn of(logits: &'a Logits, row: usize) -> Self {
        Self(match logits.device.parts.is_empty() {
            true => Row::TargetParts(logits.row(row)),
            false => Row::Device(logits, row),
        })
    }

    /// All values, `[vocab_size]`. The first row of a pass that is asked for brings all of them to the host.
    pub fn values(self) -> Result<&'a [f32]> {
        match self.0 {
            Row::TargetParts(values) => Ok(values),
            Row::Device(logits, row) => {
                let width = logits.vocab_size;
                Ok(&logits.device.read()?.values()[row * width..][..width])
            }
        }
    }

    /// The token with the highest logit, and that logit. Of equal ones the host takes the first, a device any, but always the
    /// same.
    pub fn argmax(self) -> Result<(u32, f32)> {
        if let Row::Device(logits, row) = self.0 {
            let (token, logit) = logits.device.argmax(row)?;
            if logit.is_finite() {
                return Ok((token, logit));
            }
        }
        self.values().map(backend::argmax)
    }

    /// The `count` tokens with the highest logits, highest first.
    pub fn top_k(self, count: usize) -> Result<Vec<u32>> {
        Ok(backend::top_k(self.values()?, count))
    }
}

impl<'a> From<&'a [f32]> for LogitsRow<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self(Row::TargetParts(values))
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
