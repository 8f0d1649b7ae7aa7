//! Recurrent layers: a sequence has a state in place of a cache of positions.
//!
//! A state can't be truncated, so a sequence keeps the state after its last *committed* token and the inputs of the tokens
//! since. A pass applies those inputs, commits what can't be rolled back any more, and computes the remaining rows on a copy:
//! the state is read once and written once a pass, however many rows are verified. Rolling back only chooses which inputs
//! count ([`Segment::past`] says how many), and accepting a path of a tree selects them.
//!
//! A state's blocks don't depend on one another. All rows of a pass, trees too, run through a block while it is in the
//! first-level cache. A row is the same operations in the same order whatever else the pass computes (batch invariance).
//! The kinds of recurrences are in `kinds`, what else a row of such a layer passes through in `row_map`; `cpu::recurrent`
//! computes both.
//!
//! ```
//! use specdec_backend::{Convolution, Recurrence, RecurrentState, Taps};
//!
//! let taps = Taps::new(3, &[0.5, 1.0, 0.5, 1.0, 0.5, 1.0], None);
//! let state = RecurrentState::new(&Recurrence::Convolution(Convolution { taps }));
//! assert!(state.reaches(0) && !state.reaches(1));
//! ```

mod kinds;
mod row_map;

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::{Batch, Mask, Segment};
pub(crate) use kinds::head_of;
pub use kinds::{Convolution, DeltaRule, Recurrence, ShortConv, StateSpace, Taps};
pub use row_map::{GateOrder, GatedNorm, RowMap, Span};

/// One layer's state of one sequence. Clones share its memory until one of them is advanced.
#[derive(Debug, Clone)]
pub struct RecurrentState {
    /// After the committed tokens: `[blocks][state_width]`.
    values: Arc<Vec<f32>>,
    /// Number of committed tokens.
    committed: usize,
    /// Inputs of the tokens after them: `[tokens][input_width]`.
    inputs: Vec<f32>,
    input_width: usize,
}

impl RecurrentState {
    /// The state before the first token: zeros.
    pub fn new(recurrence: &Recurrence) -> Self {
        Self {
            values: Arc::new(vec![0.0; recurrence.blocks() * recurrence.state_width()]),
            committed: 0,
            inputs: Vec::new(),
            input_width: recurrence.input_width(),
        }
    }

    /// The state before the first token of the same layer.
    #[must_use]
    pub fn cleared(&self) -> Self {
        Self {
            values: Arc::new(vec![0.0; self.values.len()]),
            committed: 0,
            inputs: Vec::new(),
            input_width: self.input_width,
        }
    }

    /// The values to advance, of this state alone.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        Arc::make_mut(&mut self.values).as_mut_slice()
    }

    /// The fewest tokens that it can be rolled back to.
    pub fn committed(&self) -> usize {
        self.committed
    }

    /// The most tokens that it can stand for.
    pub fn len(&self) -> usize {
        self.committed + self.inputs.len() / self.input_width.max(1)
    }

    /// Whether no token was committed or is pending.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it can stand for the first `length` tokens.
    pub fn reaches(&self, length: usize) -> bool {
        (self.committed..=self.len()).contains(&length)
    }

    /// The state of the first `length` tokens, which it reaches.
    #[must_use]
    pub fn fork(&self, length: usize) -> Self {
        let pending = length.saturating_sub(self.committed) * self.input_width;
        Self {
            values: self.values.clone(),
            committed: self.committed,
            inputs: self.inputs[..pending.min(self.inputs.len())].to_vec(),
            input_width: self.input_width,
        }
    }

    /// Accepts a path of the tokens after the first `past`, which ascends: token `path[i]` of them becomes token `past + i`.
    pub fn accept(&mut self, past: usize, path: &[usize]) -> Result<()> {
        let first = past.saturating_sub(self.committed);
        let tokens = self.len() - self.committed;
        if past < self.committed || path.iter().any(|token| first + token >= tokens) {
            return Err(out_of_reach(self, past));
        }
        let width = self.input_width;
        for (to, from) in path.iter().enumerate() {
            let from = (first + from) * width;
            let to = (first + to) * width;
            self.inputs.copy_within(from..from + width, to);
        }
        self.inputs.truncate((first + path.len()) * width);
        Ok(())
    }
}

fn out_of_reach(state: &RecurrentState, length: usize) -> Error {
    let (first, last) = (state.committed, state.len());
    Error::Compute(format!(
        "a recurrent layer's state can't stand for {length} tokens: only for {first} to {last}"
    ))
}

/// One sequence's share of a pass, the same for all blocks.
///
/// Its tokens are the pending ones and then the segment's rows, in the order in which they are computed.
pub(crate) struct Run<'a> {
    pub(crate) segment: Segment,
    /// Inputs of the tokens between the committed ones and the segment's rows.
    pending: Vec<f32>,
    /// How many of the tokens are committed by this pass.
    commits: usize,
    /// The inputs of the segment's rows.
    inputs: &'a [f32],
    input_width: usize,
    /// The segment's rows, in order.
    rows: Vec<usize>,
    /// All tokens, in order.
    pub(crate) stretches: Vec<Stretch>,
}

/// Tokens that advance one state, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) tokens: Range<usize>,
    /// The state that it starts from.
    pub(crate) from: StateCopy,
    /// The state that it advances.
    pub(crate) to: StateCopy,
}

/// The state that is kept, or a copy of it for tokens that may yet be rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateCopy {
    Committed,
    Copy(usize),
}

/// A row's turn: the copy of the state that it starts from, and the one that it advances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Visit {
    row: usize,
    from: usize,
    to: usize,
}

impl<'a> Run<'a> {
    fn new(
        segment: Segment,
        ancestors: &[u64],
        inputs: &'a [f32],
        state: &RecurrentState,
    ) -> Result<Self> {
        if !state.reaches(segment.past) {
            return Err(out_of_reach(state, segment.past));
        }
        let (width, pending) = (state.input_width, segment.past - state.committed);
        let certain = (pending + segment.rows).saturating_sub(segment.provisional);
        let (commits, visits) = match segment.mask {
            Mask::Tree => (certain.min(pending), visits(ancestors)),
            Mask::Causal | Mask::Full | Mask::Past => (
                certain,
                (0..segment.rows).map(|row| visit(row, 0, 0)).collect(),
            ),
        };
        Ok(Self {
            pending: state.inputs[..pending * width].to_vec(),
            commits,
            inputs: &inputs[segment.first_row * width..][..segment.rows * width],
            input_width: width,
            rows: visits.iter().map(|visit| visit.row).collect(),
            stretches: stretches(pending, commits, &visits),
            segment,
        })
    }

    /// Copies of a block's state that are needed at once.
    pub(crate) fn copies(&self) -> usize {
        let copies = self.stretches.iter().map(|stretch| match stretch.to {
            StateCopy::Committed => 0,
            StateCopy::Copy(copy) => copy + 1,
        });
        copies.max().unwrap_or(0)
    }

    /// A token's inputs, and which of the batch's rows it is, if any.
    pub(crate) fn token(&self, index: usize) -> (&[f32], Option<usize>) {
        let width = self.input_width;
        let pending = self.pending.len() / width.max(1);
        match index.checked_sub(pending) {
            None => (&self.pending[index * width..][..width], None),
            Some(turn) => {
                let row = self.rows[turn];
                let input = &self.inputs[row * width..][..width];
                (input, Some(self.segment.first_row + row))
            }
        }
    }

    /// The runs of a batch's segments, whose states these are.
    pub(crate) fn of_batch(
        batch: Batch<'_>,
        inputs: &'a [f32],
        states: &[&mut RecurrentState],
    ) -> Result<Vec<Self>> {
        let segments = batch.segments.iter().enumerate().zip(states);
        let runs = segments.map(|((index, segment), state)| {
            Self::new(*segment, batch.ancestors_of(index), inputs, state)
        });
        runs.collect()
    }

    /// The state after the pass, without its values.
    pub(crate) fn finish(self, state: &mut RecurrentState) {
        state.committed += self.commits;
        // A new vector: one that held a whole prompt's inputs would keep their memory.
        let committed = self.commits * self.input_width;
        let pending = self.pending.get(committed..).unwrap_or_default();
        let of_rows = committed.saturating_sub(self.pending.len());
        state.inputs = [pending, &self.inputs[of_rows..]].concat();
    }
}

fn visit(row: usize, from: usize, to: usize) -> Visit {
    Visit { row, from, to }
}

/// Pending tokens and visits, by the state that they advance: the kept one as far as they are committed, then copies.
fn stretches(pending: usize, commits: usize, visits: &[Visit]) -> Vec<Stretch> {
    use StateCopy::{Committed, Copy};
    let stretch = |tokens, from, to| Stretch { tokens, from, to };
    let mut stretches = vec![stretch(0..commits, Committed, Committed)];
    let total = pending + visits.len();
    if commits < total {
        stretches.push(stretch(commits..commits, Committed, Copy(0)));
    }
    for token in commits..total {
        let turn = token.checked_sub(pending).map(|turn| &visits[turn]);
        let (from, to) = turn.map_or((0, 0), |visit| (visit.from, visit.to));
        match stretches.last_mut() {
            Some(last) if from == to && last.to == Copy(to) => last.tokens.end += 1,
            _ => stretches.push(stretch(token..token + 1, Copy(from), Copy(to))),
        }
    }
    stretches
}

/// A tree's rows, depth first: only a row that others of its siblings follow starts from a copy.
fn visits(ancestors: &[u64]) -> Vec<Visit> {
    fn below(parent: Option<usize>, ancestors: &[u64], copy: usize, visits: &mut Vec<Visit>) {
        let nearest = |row: &usize| {
            let above = ancestors[*row] & !(1 << row);
            above.checked_ilog2().map(|row| row as usize) == parent
        };
        let mut children = (0..ancestors.len()).filter(nearest).peekable();
        while let Some(row) = children.next() {
            let own = copy + usize::from(children.peek().is_some());
            visits.push(visit(row, copy, own));
            below(Some(row), ancestors, own, visits);
        }
    }
    let mut visits = Vec::with_capacity(ancestors.len());
    below(None, ancestors, 0, &mut visits);
    visits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_with_later_siblings_start_from_a_copy() {
        // 0 -> (1 -> 3, 2), 4
        let ancestors = [0b1, 0b11, 0b101, 0b1011, 0b1_0000];
        let expected = [(0, 0, 1), (1, 1, 2), (3, 2, 2), (2, 1, 1), (4, 0, 0)];
        assert_eq!(
            visits(&ancestors),
            expected.map(|(row, from, to)| visit(row, from, to))
        );
        let chain = [0b1, 0b11, 0b111];
        assert!(
            visits(&chain)
                .iter()
                .all(|visit| (visit.from, visit.to) == (0, 0))
        );
    }

    #[test]
    fn tokens_that_advance_one_state_are_one_stretch() {
        use StateCopy::{Committed, Copy};
        let of = |pending, commits, ancestors: &[u64]| {
            let stretches = stretches(pending, commits, &visits(ancestors));
            let parts = stretches.into_iter();
            parts
                .map(|part| (part.tokens, part.from, part.to))
                .collect::<Vec<_>>()
        };
        let chain = [0b1, 0b11, 0b111];
        let kept = (0..4, Committed, Committed);
        assert_eq!(of(2, 4, &chain), [kept, (4..5, Committed, Copy(0))]);
        assert_eq!(of(0, 3, &chain), [(0..3, Committed, Committed)]);
        // 0 -> (1 -> 3, 2), 4
        let tree = [0b1, 0b11, 0b101, 0b1011, 0b1_0000];
        let expected = [
            (0..1, Committed, Committed),
            (1..2, Committed, Copy(0)),
            (2..3, Copy(0), Copy(1)),
            (3..5, Copy(1), Copy(2)),
            (5..6, Copy(1), Copy(1)),
            (6..7, Copy(0), Copy(0)),
        ];
        assert_eq!(of(2, 1, &tree), expected);
    }
}
