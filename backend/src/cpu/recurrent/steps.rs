//! One token's step through a block of a state.

use super::super::math::{activate, load_some, store_some};
use super::super::simd::{LANES, Simd};
use crate::recurrent::head_of;
use crate::{Activation, Convolution, DeltaRule, ShortConv, StateSpace, Taps};

/// Sums of a column that are kept apart, so that additions need not wait for one another.
const SUMS: usize = 4;

/// One token's step.
pub(super) trait Step: Sync {
    /// Advances a block's state by a token, and writes what the token gets out of it.
    fn run<S: Simd>(
        &self,
        block: usize,
        input: &[f32],
        state: &mut [f32],
        output: Option<&mut [f32]>,
    );
}

/// Up to sixteen values from `first` on.
#[inline(always)]
fn lanes<S: Simd>(values: &[f32], first: usize) -> S::Floats {
    load_some::<S>(&values[first..(first + LANES).min(values.len())])
}

/// The weighted sum of a state's rows, in a fixed order; `row` gives a row and its weight.
#[inline(always)]
fn sum_of_rows<S: Simd>(rows: usize, mut row: impl FnMut(usize) -> (S::Floats, f32)) -> S::Floats {
    let mut sums = [S::splat(0.0); SUMS];
    let whole = rows / SUMS * SUMS;
    for first in (0..whole).step_by(SUMS) {
        for offset in 0..SUMS {
            let (values, weight) = row(first + offset);
            sums[offset] = S::fma(values, S::splat(weight), sums[offset]);
        }
    }
    for rest in whole..rows {
        let (values, weight) = row(rest);
        sums[0] = S::fma(values, S::splat(weight), sums[0]);
    }
    S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]))
}

/// Moves a convolution's tokens up and appends one; returns the sum of all times their taps, and the bias.
#[inline(always)]
fn convolve<S: Simd>(taps: &Taps, block: usize, state: &mut [f32], latest: S::Floats) -> S::Floats {
    let (first, padded) = (block * LANES, taps.padded());
    let (tokens, _) = state.as_chunks_mut::<LANES>();
    let mut sum = lanes::<S>(&taps.bias, first);
    let last = tokens.len() - 1;
    for tap in 0..last {
        let value = S::load(&tokens[tap + 1]);
        S::store(value, &mut tokens[tap]);
        sum = S::fma(value, lanes::<S>(&taps.values, tap * padded + first), sum);
    }
    S::store(latest, &mut tokens[last]);
    S::fma(latest, lanes::<S>(&taps.values, last * padded + first), sum)
}

/// A block's channels of a part of the inputs.
#[inline(always)]
fn channels<S: Simd>(taps: &Taps, input: &[f32], part: usize, block: usize) -> S::Floats {
    let part = &input[part * taps.channels..][..taps.channels];
    lanes::<S>(part, block * LANES)
}

impl Step for Convolution {
    #[inline(always)]
    fn run<S: Simd>(
        &self,
        block: usize,
        input: &[f32],
        state: &mut [f32],
        output: Option<&mut [f32]>,
    ) {
        let latest = channels::<S>(&self.taps, input, 0, block);
        let sum = convolve::<S>(&self.taps, block, state, latest);
        if let Some(output) = output {
            store_some::<S>(activate::<S>(sum, Activation::Silu), output);
        }
    }
}

impl Step for ShortConv {
    #[inline(always)]
    fn run<S: Simd>(
        &self,
        block: usize,
        input: &[f32],
        state: &mut [f32],
        output: Option<&mut [f32]>,
    ) {
        let [before, after, value] =
            [0, 1, 2].map(|part| channels::<S>(&self.taps, input, part, block));
        let sum = convolve::<S>(&self.taps, block, state, S::mul(before, value));
        if let Some(output) = output {
            store_some::<S>(S::mul(after, sum), output);
        }
    }
}

impl Step for DeltaRule {
    #[inline(always)]
    fn run<S: Simd>(
        &self,
        block: usize,
        input: &[f32],
        state: &mut [f32],
        output: Option<&mut [f32]>,
    ) {
        let (head, within) = head_of(block, self.value_dim);
        let of_key_head = |first: usize| {
            let first = first + self.key_head(head) * self.key_dim;
            &input[first..first + self.key_dim]
        };
        let (query, key) = (of_key_head(0), of_key_head(self.key_width()));
        let state = &mut state[..self.key_dim * LANES];
        let values = &input[2 * self.key_width() + head * self.value_dim..][..self.value_dim];
        let decay = S::splat(input[self.channels() + head]);
        let step = S::splat(input[self.channels() + self.value_heads + head]);
        let (state, _) = state.as_chunks_mut::<LANES>();
        // What the decayed state says of the key.
        let known = sum_of_rows::<S>(state.len(), |row| {
            (S::mul(S::load(&state[row]), decay), key[row])
        });
        let value = lanes::<S>(values, within);
        let change = S::mul(step, S::sub(value, known));
        let sum = sum_of_rows::<S>(state.len(), |row| {
            let decayed = S::mul(S::load(&state[row]), decay);
            let next = S::fma(S::splat(key[row]), change, decayed);
            S::store(next, &mut state[row]);
            (next, query[row])
        });
        if let Some(output) = output {
            store_some::<S>(sum, output);
        }
    }
}

impl Step for StateSpace {
    #[inline(always)]
    fn run<S: Simd>(
        &self,
        block: usize,
        input: &[f32],
        state: &mut [f32],
        output: Option<&mut [f32]>,
    ) {
        let (head, within) = head_of(block, self.head_dim);
        let (width, size) = (self.heads * self.head_dim, self.state_dim);
        let group = head / (self.heads / self.groups);
        let of_group = |part: usize| {
            let first = width + (part * self.groups + group) * size;
            &input[first..first + size]
        };
        let (entry, exit) = (of_group(0), of_group(1));
        let state = &mut state[..size * LANES];
        let x = lanes::<S>(&input[head * self.head_dim..][..self.head_dim], within);
        let decay = S::splat(input[self.channels() + head]);
        let entering = S::mul(x, S::splat(input[self.channels() + self.heads + head]));
        let (state, _) = state.as_chunks_mut::<LANES>();
        let sum = sum_of_rows::<S>(state.len(), |row| {
            let decayed = S::mul(S::load(&state[row]), decay);
            let next = S::fma(entering, S::splat(entry[row]), decayed);
            S::store(next, &mut state[row]);
            (next, exit[row])
        });
        if let Some(output) = output {
            let skip = S::splat(self.skip[head]);
            store_some::<S>(S::fma(skip, x, sum), output);
        }
    }
}
