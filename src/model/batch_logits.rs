//! Logits of a batch, and each sequence's share of them.

use smallvec::SmallVec;

use super::language_model::Extend;
use super::logits::{Logits, LogitsRow};
use super::target_model::captured_tokens;
use crate::error::Result;

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
        LogitsRow::of(self.logits, self.share.first_row + row)
    }

    /// [`Logits::used_new_weights`] of the pass.
    pub fn used_new_weights(&self) -> bool {
        self.logits.used_new_weights()
    }

    /// [`Logits::hidden`] of the sequence.
    pub fn hidden(&self) -> &'a [f32] {
        let Share {
            first_token,
            tokens,
            ..
        } = self.share;
        self.logits.hidden_of_tokens(first_token, tokens)
    }

    /// [`Logits::hidden_of`] a token of the sequence.
    pub fn hidden_of(&self, token: usize) -> &'a [f32] {
        match self.share.tokens {
            0 => &[],
            _ => self.logits.hidden_of(self.share.first_token + token),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::backend::{self, DeviceRows, HostRows};

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
            logits.leave(Box::new(Counted(values, reads.clone())));
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
