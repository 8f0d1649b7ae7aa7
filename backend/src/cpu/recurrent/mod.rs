//! Recurrent layers: the blocks of states on all threads.

mod host;
mod row_map;
mod steps;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use super::memory::UnsafeSlice;
use super::rows::{BufferPool, Rows};
use super::simd::{LANES, Simd};
use super::tier::{Kernel, Tier};
use crate::error::Result;
use crate::recurrent::{Run, StateCopy};
use crate::{Batch, Recurrence, RecurrentState};
pub(crate) use host::HostRecurrence;
pub(super) use row_map::map_row;
use steps::{Advance, Token};

/// How many tokens before its turn a token's inputs are prefetched.
const AHEAD: usize = 2;

thread_local! {
    /// A thread's copies of a block's state, in the memory of the last block's.
    static COPIES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Calls its work with each number below the one that it is given, in any order.
pub(super) type ForEach<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// Advances `states`, those of the batch's segments, by their rows' inputs, `[rows, input_width]`, to outputs.
pub(super) fn recur(
    inputs: &[f32],
    recurrence: &Recurrence,
    states: &mut [&mut RecurrentState],
    batch: Batch<'_>,
    (tier, buffers): (Tier, &Arc<BufferPool>),
    for_each: ForEach<'_>,
) -> Result<Rows> {
    let runs = Run::of_batch(batch, inputs, states)?;
    let rows = runs.iter().map(|run| run.segment.rows).sum::<usize>();
    let mut outputs = Rows::new(buffers, rows, recurrence.output_width());
    let output = UnsafeSlice::new(outputs.values_mut());
    let states_to_write: Vec<UnsafeSlice<'_, f32>> = states
        .iter_mut()
        .map(|state| UnsafeSlice::new(state.values_mut()))
        .collect();
    let together = together(recurrence);
    let (groups, width) = (
        recurrence.blocks() / together,
        recurrence.state_width() * together,
    );
    for_each(runs.len() * groups, &|item| {
        let (run, group) = (&runs[item / groups], item % groups);
        // SAFETY: every block of every state is written by one thread.
        let state = unsafe { states_to_write[item / groups].slice_mut(group * width, width) };
        COPIES.with_borrow_mut(|copies| {
            let length = run.copies() * width;
            copies.resize(copies.len().max(length), 0.0);
            tier.run_floats(BlockGroup {
                run,
                blocks: group * together..(group + 1) * together,
                state,
                copies: &mut copies[..length],
                output,
                recurrence,
            });
        });
    });
    for (run, state) in runs.into_iter().zip(states) {
        run.finish(state);
    }
    Ok(outputs)
}

/// How many neighbouring blocks are advanced at once: two of a head share the loads of what the head's tokens bring, and a
/// convolution reads more of a row than a cache line.
fn together(recurrence: &Recurrence) -> usize {
    let most = match recurrence {
        Recurrence::Convolution(_) | Recurrence::ShortConv(_) => 8,
        Recurrence::DeltaRule(_) | Recurrence::StateSpace(_) => 2,
    };
    let blocks = recurrence.blocks_of_head();
    let evenly = |count: &usize| blocks.is_multiple_of(*count);
    (1..=most).rev().find(evenly).unwrap_or(1)
}

/// Neighbouring blocks of one sequence, computed by one thread.
struct BlockGroup<'a> {
    run: &'a Run<'a>,
    blocks: Range<usize>,
    state: &'a mut [f32],
    /// Copies of the state, for rows that may yet be rolled back.
    copies: &'a mut [f32],
    /// `[rows][output_width]`
    output: UnsafeSlice<'a, f32>,
    recurrence: &'a Recurrence,
}

impl Kernel for BlockGroup<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        match self.recurrence {
            Recurrence::Convolution(convolution) => self.apply::<S>(convolution),
            Recurrence::ShortConv(convolution) => self.apply::<S>(convolution),
            Recurrence::DeltaRule(rule) => self.apply::<S>(rule),
            Recurrence::StateSpace(space) => self.apply::<S>(space),
        }
    }
}

impl BlockGroup<'_> {
    #[inline(always)]
    fn apply<S: Simd>(self, recurrence: &impl Advance) {
        let (run, output, width) = (self.run, self.output, self.state.len());
        let outputs = self.recurrence.outputs_of(self.blocks.clone());
        let vectors = recurrence.vectors(&self.blocks);
        for stretch in &run.stretches {
            match (stretch.from, stretch.to) {
                (StateCopy::Committed, StateCopy::Copy(to)) => {
                    self.copies[to * width..][..width].copy_from_slice(self.state);
                }
                (StateCopy::Copy(from), StateCopy::Copy(to)) if from != to => {
                    let from = from * width;
                    self.copies.copy_within(from..from + width, to * width);
                }
                _ => (),
            }
            let state = match stretch.to {
                StateCopy::Committed => &mut *self.state,
                StateCopy::Copy(copy) => &mut self.copies[copy * width..][..width],
            };
            let tokens = stretch.tokens.clone().map(|token| {
                // Rows are far apart: no prefetcher of the processor's finds the next.
                if token + AHEAD < stretch.tokens.end {
                    prefetch::<S>(run.token(token + AHEAD).0, &vectors);
                }
                let (input, row) = run.token(token);
                let first = |row| row * self.recurrence.output_width() + outputs.start;
                // SAFETY: every block of every row is written by one thread.
                let output = row.map(|row| unsafe { output.slice_mut(first(row), outputs.len()) });
                Token { input, output }
            });
            recurrence.advance::<S>(self.blocks.clone(), tokens, state);
        }
    }
}

/// Prefetches vectors among a token's inputs.
#[inline(always)]
fn prefetch<S: Simd>(input: &[f32], vectors: &[Range<usize>]) {
    for vector in vectors {
        for line in input[vector.clone()].chunks(LANES) {
            S::prefetch(line.as_ptr());
        }
    }
}
