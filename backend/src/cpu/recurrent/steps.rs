//! The advance of a state's blocks by tokens, one after the other.

use std::ops::Range;

use super::super::math::{activate, load_some, store_some};
use super::super::simd::{LANES, Simd};
use crate::recurrent::head_of;
use crate::{Activation, Convolution, DeltaRule, ShortConv, StateSpace, Taps};

/// Sums of a column that are kept apart, so that additions need not wait for one another.
const SUMS: usize = 2;

/// A token's inputs, and where its outputs of the blocks go, if anybody wants them.
pub(super) struct Token<'a> {
    pub(super) input: &'a [f32],
    pub(super) output: Option<&'a mut [f32]>,
}

/// A recurrence, as it advances states.
pub(super) trait Advance: Sync {
    /// The vectors among a token's inputs that neighbouring blocks read: where they are.
    fn vectors(&self, blocks: &Range<usize>) -> [Range<usize>; 3];

    /// Advances the state of neighbouring blocks by tokens, and writes what the tokens get out of it.
    fn advance<'a, S: Simd>(
        &self,
        blocks: Range<usize>,
        tokens: impl Iterator<Item = Token<'a>>,
        state: &mut [f32],
    );
}

/// Up to sixteen values from `first` on.
#[inline(always)]
fn lanes<S: Simd>(values: &[f32], first: usize) -> S::Floats {
    load_some::<S>(&values[first..(first + LANES).min(values.len())])
}

/// Rows of sixteen columns, of each block.
type Rows<'a, const BLOCKS: usize> = [&'a mut [[f32; LANES]]; BLOCKS];

/// The blocks of a state.
#[inline(always)]
fn rows_of<const BLOCKS: usize>(state: &mut [f32]) -> Rows<'_, BLOCKS> {
    let width = state.len() / BLOCKS;
    let mut blocks = state.chunks_exact_mut(width.max(1));
    std::array::from_fn(|_| {
        let block = blocks.next().unwrap_or_default();
        block.as_chunks_mut().0
    })
}

// What follows is loops where closures would read better: a closure that isn't inlined is compiled without the tier's
// instructions.

/// Each block's vector of values.
#[inline(always)]
fn of_blocks<S: Simd, const BLOCKS: usize>(values: &[f32]) -> [S::Floats; BLOCKS] {
    let mut vectors = [S::splat(0.0); BLOCKS];
    for (block, vector) in vectors.iter_mut().enumerate() {
        *vector = lanes::<S>(values, block * LANES);
    }
    vectors
}

/// Writes each block's outputs.
#[inline(always)]
fn write<S: Simd, const BLOCKS: usize>(sums: [S::Floats; BLOCKS], output: Option<&mut [f32]>) {
    let outputs = output.unwrap_or_default().chunks_mut(LANES);
    for (sum, output) in sums.into_iter().zip(outputs) {
        store_some::<S>(sum, output);
    }
}

/// Adds each block's sums up, in a fixed order.
#[inline(always)]
fn add_up<S: Simd, const BLOCKS: usize>(sums: [[S::Floats; SUMS]; BLOCKS]) -> [S::Floats; BLOCKS] {
    let mut total = [S::splat(0.0); BLOCKS];
    for (total, [even, odd]) in total.iter_mut().zip(sums) {
        *total = S::add(even, odd);
    }
    total
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

/// The blocks' channels of a part of the inputs.
fn channels(taps: &Taps, part: usize, blocks: &Range<usize>) -> Range<usize> {
    let first = part * taps.channels;
    first + blocks.start * LANES..first + (blocks.end * LANES).min(taps.channels)
}

impl Advance for Convolution {
    fn vectors(&self, blocks: &Range<usize>) -> [Range<usize>; 3] {
        [channels(&self.taps, 0, blocks), 0..0, 0..0]
    }

    #[inline(always)]
    fn advance<'a, S: Simd>(
        &self,
        blocks: Range<usize>,
        tokens: impl Iterator<Item = Token<'a>>,
        state: &mut [f32],
    ) {
        let width = state.len() / blocks.len();
        let [latest, ..] = self.vectors(&blocks);
        for Token { input, output } in tokens {
            let latest = input[latest.clone()].chunks(LANES);
            let mut outputs = output.unwrap_or_default().chunks_mut(LANES);
            let blocks = blocks.clone().zip(state.chunks_exact_mut(width));
            for ((block, state), latest) in blocks.zip(latest) {
                let sum = convolve::<S>(&self.taps, block, state, load_some::<S>(latest));
                if let Some(output) = outputs.next() {
                    store_some::<S>(activate::<S>(sum, Activation::Silu), output);
                }
            }
        }
    }
}

impl Advance for ShortConv {
    fn vectors(&self, blocks: &Range<usize>) -> [Range<usize>; 3] {
        [0, 1, 2].map(|part| channels(&self.taps, part, blocks))
    }

    #[inline(always)]
    fn advance<'a, S: Simd>(
        &self,
        blocks: Range<usize>,
        tokens: impl Iterator<Item = Token<'a>>,
        state: &mut [f32],
    ) {
        let width = state.len() / blocks.len();
        let [before, after, value] = self.vectors(&blocks);
        for Token { input, output } in tokens {
            let mut outputs = output.unwrap_or_default().chunks_mut(LANES);
            let blocks = blocks.clone().zip(state.chunks_exact_mut(width));
            for (index, (block, state)) in blocks.enumerate() {
                let before = lanes::<S>(&input[before.clone()], index * LANES);
                let after = lanes::<S>(&input[after.clone()], index * LANES);
                let value = lanes::<S>(&input[value.clone()], index * LANES);
                let sum = convolve::<S>(&self.taps, block, state, S::mul(before, value));
                if let Some(output) = outputs.next() {
                    store_some::<S>(S::mul(after, sum), output);
                }
            }
        }
    }
}

/// A token whose change the state does not have yet.
struct Change<'a, S: Simd, const BLOCKS: usize> {
    key: &'a [f32],
    query: &'a [f32],
    /// What the key's row of the state gets more.
    values: [S::Floats; BLOCKS],
}

/// Goes through the state once: makes the last token's change, and lets the state decay for the next token's key. Returns
/// what the last token's query gets, and what the decayed state says of the key.
#[inline(always)]
fn change_and_decay<S: Simd, const BLOCKS: usize>(
    state: &mut Rows<'_, BLOCKS>,
    last: Option<&Change<'_, S, BLOCKS>>,
    next: Option<(&[f32], S::Floats)>,
) -> ([S::Floats; BLOCKS], [S::Floats; BLOCKS]) {
    let zero = S::splat(0.0);
    let mut outputs = [[zero; SUMS]; BLOCKS];
    let mut known = [[zero; SUMS]; BLOCKS];
    // All of one length, so that a row is checked once.
    let rows = state[0].len();
    let state = state.each_mut().map(|block| &mut block[..rows]);
    let next = next.map(|(key, decay)| (&key[..rows], decay));
    let last = last.map(|last| (&last.key[..rows], &last.query[..rows], last.values));
    for first in (0..rows).step_by(SUMS) {
        for sum in 0..SUMS {
            let row = first + sum;
            if row == rows {
                break;
            }
            // Loaded once for all blocks.
            let (mut last_key, mut last_query, mut next_key) = (zero, zero, zero);
            if let Some((key, query, _)) = last {
                (last_key, last_query) = (S::splat(key[row]), S::splat(query[row]));
            }
            if let Some((key, _)) = next {
                next_key = S::splat(key[row]);
            }
            for block in 0..BLOCKS {
                let mut values = S::load(&state[block][row]);
                if let Some((_, _, change)) = last {
                    values = S::fma(last_key, change[block], values);
                    outputs[block][sum] = S::fma(values, last_query, outputs[block][sum]);
                }
                if let Some((_, decay)) = next {
                    values = S::mul(values, decay);
                    known[block][sum] = S::fma(values, next_key, known[block][sum]);
                }
                S::store(values, &mut state[block][row]);
            }
        }
    }
    (add_up::<S, BLOCKS>(outputs), add_up::<S, BLOCKS>(known))
}

impl Advance for DeltaRule {
    /// Query, key, and the blocks' part of the value.
    fn vectors(&self, blocks: &Range<usize>) -> [Range<usize>; 3] {
        let (head, within) = head_of(blocks.start, self.value_dim);
        let query = self.key_head(head) * self.key_dim;
        let key = self.key_width() + query;
        let value = 2 * self.key_width() + head * self.value_dim;
        [
            query..query + self.key_dim,
            key..key + self.key_dim,
            value + within..value + (within + blocks.len() * LANES).min(self.value_dim),
        ]
    }

    #[inline(always)]
    fn advance<'a, S: Simd>(
        &self,
        blocks: Range<usize>,
        tokens: impl Iterator<Item = Token<'a>>,
        state: &mut [f32],
    ) {
        match blocks.len() {
            1 => self.advance_together::<S, 1>(blocks, tokens, state),
            2 => self.advance_together::<S, 2>(blocks, tokens, state),
            _ => unreachable!("one or two blocks of a head"),
        }
    }
}

impl DeltaRule {
    /// A token's change is made on the way through the state that the next token needs anyway.
    #[inline(always)]
    fn advance_together<'a, S: Simd, const BLOCKS: usize>(
        &self,
        blocks: Range<usize>,
        tokens: impl Iterator<Item = Token<'a>>,
        state: &mut [f32],
    ) {
        let (head, _) = head_of(blocks.start, self.value_dim);
        let [query, key, value] = self.vectors(&blocks);
        let mut state = rows_of::<BLOCKS>(state);
        let mut last: Option<(Change<'_, S, BLOCKS>, Option<&mut [f32]>)> = None;
        for Token { input, output } in tokens {
            let (query, key) = (&input[query.clone()], &input[key.clone()]);
            let decay = S::splat(input[self.channels() + head]);
            let step = S::splat(input[self.channels() + self.value_heads + head]);
            let next = Some((key, decay));
            let known = match last.take() {
                None => change_and_decay::<S, BLOCKS>(&mut state, None, next).1,
                Some((change, output)) => {
                    let (sums, known) = change_and_decay(&mut state, Some(&change), next);
                    write::<S, BLOCKS>(sums, output);
                    known
                }
            };
            let mut values = of_blocks::<S, BLOCKS>(&input[value.clone()]);
            for (value, known) in values.iter_mut().zip(known) {
                *value = S::mul(step, S::sub(*value, known));
            }
            last = Some((Change { key, query, values }, output));
        }
        if let Some((change, output)) = last {
            let (sums, _) = change_and_decay::<S, BLOCKS>(&mut state, Some(&change), None);
            write::<S, BLOCKS>(sums, output);
        }
    }
}

impl Advance for StateSpace {
    /// The blocks' part of x, B and C.
    fn vectors(&self, blocks: &Range<usize>) -> [Range<usize>; 3] {
        let (head, within) = head_of(blocks.start, self.head_dim);
        let group = head / (self.heads / self.groups);
        let of_group = |part: usize| {
            let first = self.heads * self.head_dim + (part * self.groups + group) * self.state_dim;
            first..first + self.state_dim
        };
        let first = head * self.head_dim;
        let end = (within + blocks.len() * LANES).min(self.head_dim);
        [first + within..first + end, of_group(0), of_group(1)]
    }

    #[inline(always)]
    fn advance<'a, S: Simd>(
        &self,
        blocks: Range<usize>,
        tokens: impl Iterator<Item = Token<'a>>,
        state: &mut [f32],
    ) {
        match blocks.len() {
            1 => self.advance_together::<S, 1>(blocks, tokens, state),
            2 => self.advance_together::<S, 2>(blocks, tokens, state),
            _ => unreachable!("one or two blocks of a head"),
        }
    }
}

impl StateSpace {
    #[inline(always)]
    fn advance_together<'a, S: Simd, const BLOCKS: usize>(
        &self,
        blocks: Range<usize>,
        mut tokens: impl Iterator<Item = Token<'a>>,
        state: &mut [f32],
    ) {
        let mut state = rows_of::<BLOCKS>(state);
        while let Some(first) = tokens.next() {
            match tokens.next() {
                Some(second) => {
                    self.advance_by::<S, BLOCKS, 2>(&blocks, [first, second], &mut state);
                }
                None => self.advance_by::<S, BLOCKS, 1>(&blocks, [first], &mut state),
            }
        }
    }

    /// Advances by so many tokens on one way through the state: a row of it depends on no other.
    #[inline(always)]
    fn advance_by<S: Simd, const BLOCKS: usize, const TOKENS: usize>(
        &self,
        blocks: &Range<usize>,
        tokens: [Token<'_>; TOKENS],
        state: &mut Rows<'_, BLOCKS>,
    ) {
        let (head, _) = head_of(blocks.start, self.head_dim);
        let [x, entry, exit] = self.vectors(blocks);
        let zero = S::splat(0.0);
        let mut values = [[zero; BLOCKS]; TOKENS];
        let mut entering = [[zero; BLOCKS]; TOKENS];
        let mut decays = [zero; TOKENS];
        for (token, Token { input, .. }) in tokens.iter().enumerate() {
            decays[token] = S::splat(input[self.channels() + head]);
            values[token] = of_blocks::<S, BLOCKS>(&input[x.clone()]);
            let step = S::splat(input[self.channels() + self.heads + head]);
            for block in 0..BLOCKS {
                entering[token][block] = S::mul(values[token][block], step);
            }
        }
        // All of one length, so that a row is checked once.
        let rows = state[0].len();
        let state = state.each_mut().map(|block| &mut block[..rows]);
        let of_tokens = |part: &Range<usize>| {
            let part = part.start..part.start + rows;
            tokens.each_ref().map(|token| &token.input[part.clone()])
        };
        let (entries, exits) = (of_tokens(&entry), of_tokens(&exit));
        let mut sums = [[[zero; SUMS]; BLOCKS]; TOKENS];
        for first in (0..rows).step_by(SUMS) {
            for sum in 0..SUMS {
                let row = first + sum;
                if row == rows {
                    break;
                }
                let (mut entry, mut exit) = ([zero; TOKENS], [zero; TOKENS]);
                for token in 0..TOKENS {
                    entry[token] = S::splat(entries[token][row]);
                    exit[token] = S::splat(exits[token][row]);
                }
                for block in 0..BLOCKS {
                    let mut next = S::load(&state[block][row]);
                    for token in 0..TOKENS {
                        let decayed = S::mul(next, decays[token]);
                        next = S::fma(entering[token][block], entry[token], decayed);
                        let sum = &mut sums[token][block][sum];
                        *sum = S::fma(next, exit[token], *sum);
                    }
                    S::store(next, &mut state[block][row]);
                }
            }
        }
        let skip = S::splat(self.skip[head]);
        for (token, Token { output, .. }) in tokens.into_iter().enumerate() {
            let mut outputs = add_up::<S, BLOCKS>(sums[token]);
            for block in 0..BLOCKS {
                outputs[block] = S::fma(skip, values[token][block], outputs[block]);
            }
            write::<S, BLOCKS>(outputs, output);
        }
    }
}
