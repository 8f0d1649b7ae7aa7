//! Recurrent layers: the blocks of states on all threads.

mod host;
mod row_map;
mod steps;

use std::cell::RefCell;
use std::sync::Arc;

use super::memory::UnsafeSlice;
use super::rows::{BufferPool, Rows};
use super::simd::Simd;
use super::tier::{Kernel, Tier};
use crate::error::Result;
use crate::recurrent::Run;
use crate::{Batch, Recurrence, RecurrentState};
pub(crate) use host::HostRecurrence;
pub(super) use row_map::map_row;
use steps::Step;

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
    let (blocks, width) = (recurrence.blocks(), recurrence.state_width());
    for_each(runs.len() * blocks, &|item| {
        let (run, index) = (&runs[item / blocks], item % blocks);
        // SAFETY: every block of every state is written by one thread.
        let state = unsafe { states_to_write[item / blocks].slice_mut(index * width, width) };
        COPIES.with_borrow_mut(|copies| {
            let length = run.copies() * width;
            copies.resize(copies.len().max(length), 0.0);
            tier.run_floats(Block {
                run,
                index,
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

/// A block of one sequence, computed by one thread.
struct Block<'a> {
    run: &'a Run<'a>,
    index: usize,
    state: &'a mut [f32],
    /// Copies of the state, for rows that may yet be rolled back.
    copies: &'a mut [f32],
    /// `[rows][output_width]`
    output: UnsafeSlice<'a, f32>,
    recurrence: &'a Recurrence,
}

impl Kernel for Block<'_> {
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

impl Block<'_> {
    #[inline(always)]
    fn apply<S: Simd>(self, step: &impl Step) {
        let Self {
            run,
            index,
            state,
            copies,
            output,
            recurrence,
        } = self;
        let (width, output_width) = (recurrence.state_width(), recurrence.output_width());
        let pending = run.pending.chunks_exact(run.input_width.max(1));
        let tokens = pending.len();
        for (token, input) in pending.enumerate() {
            // From `commits` on, tokens advance a copy.
            if token == run.commits {
                copies[..width].copy_from_slice(state);
            }
            let state = match token < run.commits {
                true => &mut *state,
                false => &mut copies[..width],
            };
            step.run::<S>(index, input, state, None);
        }
        let own = recurrence.output_of(index);
        for (count, visit) in run.visits.iter().enumerate() {
            let token = tokens + count;
            if token == run.commits {
                copies[..width].copy_from_slice(state);
            }
            let state = if token < run.commits {
                &mut *state
            } else {
                if visit.from != visit.to {
                    let from = visit.from * width;
                    copies.copy_within(from..from + width, visit.to * width);
                }
                &mut copies[visit.to * width..][..width]
            };
            let row = run.segment.first_row + visit.row;
            // SAFETY: every block of every row is written by one thread.
            let output = unsafe { output.slice_mut(row * output_width + own.first, own.count) };
            step.run::<S>(index, run.input(visit.row), state, Some(output));
        }
    }
}
