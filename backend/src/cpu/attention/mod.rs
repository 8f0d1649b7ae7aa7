//! Attention over the cache.
//!
//! A query attends to each page separately (scores, their maximum, the sum of their exponentials, the weighted values),
//! and the pages are folded in their order (Milakov & Gimelshein, 1805.02867). So the result depends neither on the other
//! queries nor on how pages are distributed among threads.

mod append;
mod attend;
mod page;

use std::ops::Range;
use std::sync::Arc;

use super::cache::{Cache, Element, PAGE};
use super::math::store_some;
use super::memory::{Scratch, UnsafeSlice};
use super::pool::Pool;
use super::rows::{BufferPool, NormWeights, Rows, groups};
use super::simd::{LANES, Simd};
use super::tier::{Kernel, Tier};
use crate::{AttentionShape, Batch, KeysValues, Mask, Pairing, Segment, first_seen};
use append::Append;
use attend::Attend;
use page::{clear, fold};

/// The maximum number of queries of a unit of work: few enough that their sums stay in the first-level cache, many enough that
/// pages are loaded rarely.
const UNIT_QUERIES: usize = 48;

/// Tiles of sixteen positions in a page.
const TILES: usize = PAGE / LANES;

/// The maximum number of elements of a head: a fold has one head on its stack. No known model has more than 512.
pub(super) const MAX_HEAD_ELEMENTS: usize = 2048;

/// The minimum number of rows that are appended by several threads: one row takes about half a microsecond.
const MIN_PARALLEL_ROWS: usize = 8;

/// The number of rows that a work item appends.
const APPEND_ROWS: usize = 4;

/// The minimum number of elements of results that are folded by several threads.
const MIN_PARALLEL_FOLD: usize = 1 << 13;

/// The maximum number of queries that a tier computes at once.
const MAX_QUERIES: usize = 6;

/// A rotary embedding at the rows' positions.
#[derive(Clone, Copy)]
pub(super) struct Rotation<'a> {
    /// Cosines and sines, `[rows][pairs]`.
    pub(super) angles: &'a [(f32, f32)],
    /// A factor on each row's queries.
    pub(super) query_factors: &'a [f32],
    pub(super) pairs: usize,
    pub(super) pairing: Pairing,
}

/// One layer's attention, for all rows of a step.
#[derive(Clone, Copy)]
pub(super) struct LayerAttention<'a> {
    pub(super) layer: usize,
    pub(super) shape: AttentionShape,
    pub(super) window: Option<usize>,
    pub(super) rotation: Option<Rotation<'a>>,
    pub(super) query_norm: Option<NormWeights<'a>>,
    pub(super) key_norm: Option<NormWeights<'a>>,
    pub(super) value_norm: Option<NormWeights<'a>>,
    /// Whether queries and keys are rotated before they are normalized.
    pub(super) rotated_first: bool,
    /// A score of each head that takes part in the softmax and has no value.
    pub(super) sinks: Option<&'a [f32]>,
}

impl LayerAttention<'_> {
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// Vectors of a head.
    fn chunks(&self) -> usize {
        self.shape.head_dim.div_ceil(LANES)
    }

    /// The first position that a row at this position sees.
    fn first_seen(&self, position: usize) -> usize {
        first_seen(position, self.window)
    }
}

/// Folds the pages of one row's heads and writes the result.
struct Finish<'a> {
    attention: LayerAttention<'a>,
    unit: Unit,
    /// Results of the unit's queries, page by page.
    results: &'a [[f32; LANES]],
    /// The output of all rows of the step.
    output: UnsafeSlice<'a, f32>,
}

impl Kernel for Finish<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (group, shape) = (self.attention.group(), self.attention.shape);
        let chunks = self.attention.chunks();
        let stride = 1 + chunks;
        let count = self.unit.rows * group;
        let mut total = [[0.0; LANES]; 1 + MAX_HEAD_ELEMENTS / LANES];
        let total = &mut total[..stride];
        for query in 0..count {
            let mut pages = self.results.chunks_exact(count * stride);
            let own = query * stride..(query + 1) * stride;
            if pages.len() == 1 {
                total.copy_from_slice(&self.results[own]);
            } else {
                clear(total);
                pages
                    .by_ref()
                    .for_each(|page| fold::<S>(total, &page[own.clone()]));
            }
            let row = self.unit.first_row + query / group;
            let head = self.unit.kv_head * group + query % group;
            if let Some(sinks) = self.attention.sinks {
                // As a page of one position, whose value is 0.
                let mut sink = [[0.0; LANES]; 1 + MAX_HEAD_ELEMENTS / LANES];
                (sink[0][0], sink[0][1]) = (sinks[head], 1.0);
                fold::<S>(total, &sink[..stride]);
            }
            let start = (row * shape.heads + head) * shape.head_dim;
            // SAFETY: every row's head is written by one thread.
            let output = unsafe { self.output.slice_mut(start, shape.head_dim) };
            let sum = S::splat(total[0][1]);
            for (output, values) in output.chunks_mut(LANES).zip(&total[1..]) {
                store_some::<S>(S::div(S::load(values), sum), output);
            }
        }
    }
}

/// A unit of work: some rows of a segment, with one head of keys.
#[derive(Clone, Copy)]
struct Unit {
    segment: usize,
    kv_head: usize,
    /// First row, counted within the segment.
    first: usize,
    /// First row, counted within the step.
    first_row: usize,
    rows: usize,
    first_page: usize,
    pages: usize,
}

/// How a step's attention is divided into units.
struct Plan<'a> {
    attention: LayerAttention<'a>,
    segments: &'a [Segment],
    /// The maximum number of rows of a unit.
    rows: usize,
}

impl Plan<'_> {
    fn units(&self) -> impl Iterator<Item = Unit> {
        self.segments
            .iter()
            .enumerate()
            .flat_map(move |(index, segment)| {
                let blocks = groups(segment.rows, self.rows);
                blocks.flat_map(move |block| {
                    let past = segment.past;
                    let own = (past + block.first, past + block.first + block.rows - 1);
                    let (first, last) = match segment.mask {
                        Mask::Causal => own,
                        // A tree's later rows may have earlier positions.
                        Mask::Tree => (past, own.1),
                        Mask::Full => (own.0, past + segment.rows - 1),
                        Mask::Past => (own.0, past.saturating_sub(1)),
                    };
                    let first_page = self.attention.first_seen(first) / PAGE;
                    (0..self.attention.shape.kv_heads).map(move |kv_head| Unit {
                        segment: index,
                        kv_head,
                        first: block.first,
                        first_row: segment.first_row + block.first,
                        rows: block.rows,
                        first_page,
                        pages: last / PAGE + 1 - first_page,
                    })
                })
            })
    }
}

/// One layer's attention: appends keys and values to the caches, attends, and writes `[rows, heads * head_dim]`.
pub(super) struct Attention<'a> {
    pub(super) layer: LayerAttention<'a>,
    pub(super) q: &'a Rows,
    pub(super) keys_values: &'a KeysValues<Rows>,
    pub(super) batch: Batch<'a>,
    pub(super) buffers: &'a Arc<BufferPool>,
    pub(super) tier: Tier,
    pub(super) pool: &'a Pool,
}

impl Attention<'_> {
    /// Appends keys and values; there are no queries.
    pub(super) fn append_only<'c, T: Element>(
        &self,
        cache_of: impl Fn(usize) -> &'c Cache<T> + Sync,
    ) {
        self.append(&cache_of, UnsafeSlice::new(&mut []));
    }

    /// Runs it; `cache_of` gives the cache of each segment, where the segment's rows are reserved.
    pub(super) fn run<'c, T: Element>(
        &self,
        cache_of: impl Fn(usize) -> &'c Cache<T> + Sync,
    ) -> Rows {
        let (tier, attention) = (self.tier, self.layer);
        let shape = attention.shape;
        let rows = self.q.rows;
        let chunks = attention.chunks();
        let mut queries = Rows::new(self.buffers, rows * shape.heads, chunks * LANES);
        self.append(&cache_of, UnsafeSlice::new(queries.values_mut()));
        let queries = queries.values().as_chunks().0;

        let mut output = Rows::new(self.buffers, rows, shape.heads * shape.head_dim);
        let output_slice = UnsafeSlice::new(output.values_mut());
        let plan = Plan {
            attention,
            segments: self.batch.segments,
            rows: (UNIT_QUERIES / attention.group()).max(1),
        };
        let attend = |unit: Unit, pages: Range<usize>, next, results: &mut [[f32; LANES]]| {
            tier.run_floats(Attend {
                attention,
                cache: cache_of(unit.segment),
                queries,
                segment: self.batch.segments[unit.segment],
                ancestors: self.batch.ancestors_of(unit.segment),
                kv_head: unit.kv_head,
                first: unit.first,
                count: unit.rows,
                pages,
                next,
                results,
            });
        };
        let finish = |unit: Unit, results: &[[f32; LANES]]| {
            tier.run_floats(Finish {
                attention,
                unit,
                results,
                output: output_slice,
            });
        };
        // Elements of a unit's results for one page.
        let width = |unit: &Unit| unit.rows * attention.group() * (1 + chunks) * LANES;
        let units = plan.units().count();
        if self.pool.threads() == 1 || units >= 3 * self.pool.threads() {
            self.pool.for_each(units, &|item| {
                let Some(unit) = plan.units().nth(item) else {
                    return;
                };
                let length = width(&unit) + MAX_QUERIES * (1 + chunks) * LANES;
                let mut results = Scratch::new(length);
                let results = &mut results.values_mut()[..length];
                let pages = unit.first_page..unit.first_page + unit.pages;
                let next = (unit.first_page, unit.kv_head);
                attend(unit, pages, next, results.as_chunks_mut().0);
                finish(unit, results[..width(&unit)].as_chunks().0);
            });
            return output;
        }
        // Few queries and many pages: pages are distributed, too.
        let total = plan.units().map(|unit| unit.pages * width(&unit)).sum();
        let mut results = Rows::new(self.buffers, 1, total);
        let by_page = UnsafeSlice::new(results.values_mut());
        self.pool
            .for_each(plan.units().map(|unit| unit.pages).sum(), &|mut item| {
                let mut start = 0;
                for unit in plan.units() {
                    if item < unit.pages {
                        let page = unit.first_page + item;
                        let next = match item + self.pool.threads() {
                            item if item < unit.pages => (unit.first_page + item, unit.kv_head),
                            _ => (unit.first_page, (unit.kv_head + 1) % shape.kv_heads),
                        };
                        // SAFETY: every page of every unit has a range of its own.
                        let own =
                            unsafe { by_page.slice_mut(start + item * width(&unit), width(&unit)) };
                        return attend(unit, page..page + 1, next, own.as_chunks_mut().0);
                    }
                    item -= unit.pages;
                    start += unit.pages * width(&unit);
                }
            });
        let results = results.values();
        let fold = |unit: Unit, start: usize| {
            finish(
                unit,
                results[start..start + unit.pages * width(&unit)]
                    .as_chunks()
                    .0,
            );
        };
        let parallel = total >= MIN_PARALLEL_FOLD;
        self.pool
            .for_each(if parallel { units } else { 1 }, &|item| {
                let mut start = 0;
                for (index, unit) in plan.units().enumerate() {
                    if !parallel || index == item {
                        fold(unit, start);
                    }
                    start += unit.pages * width(&unit);
                }
            });
        output
    }

    fn append<'c, T: Element>(
        &self,
        cache_of: &(impl Fn(usize) -> &'c Cache<T> + Sync),
        queries: UnsafeSlice<'_, f32>,
    ) {
        let append = |index: usize, first: usize, count: usize| {
            self.tier.run_floats(Append {
                attention: self.layer,
                q: self.q,
                keys_values: self.keys_values,
                cache: cache_of(index),
                segment: self.batch.segments[index],
                first,
                count,
                queries,
            });
        };
        if self.q.rows < MIN_PARALLEL_ROWS {
            for (index, segment) in self.batch.segments.iter().enumerate() {
                append(index, 0, segment.rows);
            }
            return;
        }
        let items = |segment: &Segment| segment.rows.div_ceil(APPEND_ROWS);
        self.pool
            .for_each(self.batch.segments.iter().map(items).sum(), &|mut item| {
                for (index, segment) in self.batch.segments.iter().enumerate() {
                    if item < items(segment) {
                        let first = item * APPEND_ROWS;
                        return append(index, first, APPEND_ROWS.min(segment.rows - first));
                    }
                    item -= items(segment);
                }
            });
    }
}
