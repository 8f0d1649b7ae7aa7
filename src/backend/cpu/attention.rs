//! Attention over the cache.
//!
//! A query attends to each page by itself (scores, their largest, the sum of their exponentials, the weighted
//! values), and the pages are folded together in their order (Milakov & Gimelshein, 1805.02867). So the result does not
//! depend on the other queries, nor on how the pages were shared out among the threads.

use super::cache::{Cache, Element, PAGE};
use super::math::{exp, load_some, softcap, store_some};
use super::memory::Shared;
use super::pool::Pool;
use super::rows::{Arena, NormWeights, Rows, groups};
use super::simd::{LANES, Simd};
use super::tier::{Kernel, Tier};
use crate::backend::{AttentionShape, Pairing, Segment};
use std::ops::Range;
use std::sync::Arc;

/// Queries of a unit of work: few enough for their sums to stay near, many enough to read a page seldom.
const UNIT_QUERIES: usize = 48;

/// Tiles of sixteen positions in a page.
const TILES: usize = PAGE / LANES;

/// Longest head: what a fold keeps on its stack. Far beyond any model's 512.
pub(super) const MOST_HEAD_ELEMENTS: usize = 2048;

/// Rows whose appending is worth waking the other threads: one takes some half a microsecond.
const WORTHWHILE_ROWS: usize = 8;

/// Rows that a thread appends at a time.
const APPEND_SHARE: usize = 4;

/// Elements of results whose folding is worth waking the other threads.
const WORTHWHILE_FOLD: usize = 1 << 13;

/// More queries than any tier attends with at once.
const MOST_QUERIES: usize = 6;

/// A rotary embedding at the rows' positions.
#[derive(Clone, Copy)]
pub(super) struct Rotation<'a> {
    /// Cosines and sines, `[rows][pairs]`.
    pub(super) angles: &'a [(f32, f32)],
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
}

impl LayerAttention<'_> {
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// Vectors of a head.
    fn chunks(&self) -> usize {
        self.shape.head_dim.div_ceil(LANES)
    }

    /// The first position that a row at this one sees.
    fn first_seen(&self, position: usize) -> usize {
        self.window
            .map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// What a head is made of before it is used: normalized, turned, scaled.
#[inline(always)]
fn prepare_head<S: Simd>(
    x: &[f32],
    norm: Option<NormWeights<'_>>,
    rotation: Option<Rotation<'_>>,
    row: usize,
    scale: f32,
    output: &mut [f32],
) {
    match norm {
        Some(norm) => norm.apply::<S>(x, output),
        None => output.copy_from_slice(x),
    }
    if let Some(rotation) = rotation {
        let angles = &rotation.angles[row * rotation.pairs..][..rotation.pairs];
        rotate(output, angles, rotation.pairing);
    }
    for x in output {
        *x *= scale;
    }
}

/// Turns a head's pairs (2104.09864).
#[inline(always)]
fn rotate(x: &mut [f32], angles: &[(f32, f32)], pairing: Pairing) {
    let turn = |x: f32, y: f32, (cos, sin): (f32, f32)| {
        (x.mul_add(cos, -(y * sin)), y.mul_add(cos, x * sin))
    };
    match pairing {
        Pairing::Halves => {
            let (first, second) = x.split_at_mut(angles.len());
            for ((x, y), angle) in first.iter_mut().zip(second).zip(angles) {
                (*x, *y) = turn(*x, *y, *angle);
            }
        }
        Pairing::Interleaved => {
            for (pair, angle) in x.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
                (pair[0], pair[1]) = turn(pair[0], pair[1], *angle);
            }
        }
    }
}

/// Prepares the queries of some rows, and writes their keys and values to the cache.
struct Append<'a, T> {
    attention: LayerAttention<'a>,
    q: &'a Rows,
    k: &'a Rows,
    v: &'a Rows,
    cache: &'a Cache<T>,
    segment: Segment,
    /// Rows of the segment.
    first: usize,
    count: usize,
    /// `[rows of the step][heads][padded head]`
    queries: Shared<'a, f32>,
}

impl<T: Element> Kernel for Append<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let LayerAttention {
            layer,
            shape,
            rotation,
            query_norm,
            key_norm,
            ..
        } = self.attention;
        let (head_dim, padded) = (shape.head_dim, self.cache.layout.padded);
        for index in self.first..self.first + self.count {
            let (row, position) = (self.segment.first_row + index, self.segment.past + index);
            for (head, x) in self.q.row(row).chunks(head_dim).enumerate() {
                let place = (row * shape.heads + head) * padded;
                // SAFETY: every row is prepared by one thread.
                let query = unsafe { self.queries.part(place, padded) };
                let (query, filling) = query.split_at_mut(head_dim);
                prepare_head::<S>(x, query_norm, rotation, row, shape.scale, query);
                filling.fill(0.0);
            }
            let mut key = Rows::new(self.k.arena(), 1, head_dim);
            let (page, place) = (position / PAGE, position % PAGE);
            // SAFETY: the caller made room; every position is written by one thread, and read by none now.
            let page = unsafe { self.cache.share_page(page) };
            for head in 0..shape.kv_heads {
                let own = head * head_dim..(head + 1) * head_dim;
                let x = &self.k.row(row)[own.clone()];
                prepare_head::<S>(x, key_norm, rotation, row, 1.0, key.values_mut());
                let keys = self.cache.layout.keys(layer, head) + place;
                let values = self.cache.layout.values(layer, head) + place * padded;
                let value = &self.v.row(row)[own];
                let mut stored = [[T::from_f32(0.0); LANES]; 2];
                for (chunk, (key, value)) in key
                    .values()
                    .chunks(LANES)
                    .zip(value.chunks(LANES))
                    .enumerate()
                {
                    T::store::<S>(load_some::<S>(key), &mut stored[0]);
                    T::store::<S>(load_some::<S>(value), &mut stored[1]);
                    for lane in 0..key.len() {
                        let element = chunk * LANES + lane;
                        // SAFETY: as above.
                        unsafe {
                            page.write(keys + element * PAGE, stored[0][lane]);
                            page.write(values + element, stored[1][lane]);
                        }
                    }
                }
            }
        }
    }
}

/// Queries of one head of keys, over some pages.
struct Attend<'a, T> {
    attention: LayerAttention<'a>,
    cache: &'a Cache<T>,
    queries: &'a [[f32; LANES]],
    segment: Segment,
    kv_head: usize,
    /// Rows of the segment.
    first: usize,
    count: usize,
    pages: Range<usize>,
    /// Page and head that this thread probably attends to after these.
    next: (usize, usize),
    /// Of each query, what [`attend_page`] writes: of the one page, or of all of them folded.
    results: &'a mut [[f32; LANES]],
}

impl<T> Attend<'_, T> {
    /// A query of this unit: its vectors, and its row's position.
    #[inline(always)]
    fn query(&self, index: usize) -> (&[[f32; LANES]], usize) {
        let group = self.attention.group();
        let row = self.first + index / group;
        let head = self.kv_head * group + index % group;
        let place = (self.segment.first_row + row) * self.attention.shape.heads + head;
        let chunks = self.attention.chunks();
        (
            &self.queries[place * chunks..][..chunks],
            self.segment.past + row,
        )
    }
}

/// The positions of a tile between two (both included), as bits.
#[inline(always)]
fn lanes_between(first: usize, last: usize, tile_start: usize) -> u16 {
    let low = first.saturating_sub(tile_start).min(LANES);
    let high = (last + 1).saturating_sub(tile_start).min(LANES);
    let below = |lane: usize| (1_u32 << lane) - 1;
    (below(high) & !below(low)) as u16
}

/// One page of keys and values.
struct Page<'a, T> {
    keys: &'a [[T; LANES]],
    values: &'a [[T; LANES]],
    /// Where the keys lie that are probably next, values behind them. Never read from here.
    next: *const [T; LANES],
    chunks: usize,
    softcap: Option<f32>,
}

impl<T: Element> Page<'_, T> {
    /// What `Q` queries get from the page; of each first `[largest score, sum of exponentials, ...]`, then the
    /// weighted values.
    #[inline(always)]
    fn attend<S: Simd, const Q: usize>(
        &self,
        queries: [&[[f32; LANES]]; Q],
        seen: &[[u16; TILES]; Q],
        results: &mut [[f32; LANES]],
    ) {
        let mut scores = self.scores::<S, Q>(queries);
        let stride = 1 + self.chunks;
        let mut weights = [[[0.0; LANES]; TILES]; Q];
        for query in 0..Q {
            let nothing = S::splat(f32::NEG_INFINITY);
            let mut largest = nothing;
            for tile in 0..TILES {
                let mut score = scores[query][tile];
                if let Some(cap) = self.softcap {
                    score = softcap::<S>(score, cap);
                }
                score = S::select(seen[query][tile], score, nothing);
                scores[query][tile] = score;
                largest = S::max(largest, score);
            }
            let largest = S::largest(largest);
            // Where nothing is seen, all weights become 0.
            let bound = if largest > f32::NEG_INFINITY {
                largest
            } else {
                0.0
            };
            let mut sum = S::splat(0.0);
            for tile in 0..TILES {
                let weight = exp::<S>(S::sub(scores[query][tile], S::splat(bound)));
                sum = S::add(sum, weight);
                S::store(weight, &mut weights[query][tile]);
            }
            let head = &mut results[query * stride];
            head[0] = largest;
            head[1] = S::sum(sum);
        }
        let seen_tiles = (0..TILES).filter(|tile| (0..Q).any(|query| seen[query][*tile] != 0));
        let last = seen_tiles.max().map_or(0, |tile| tile + 1);
        let mut chunk = 0;
        while chunk + 4 <= self.chunks {
            self.weigh::<S, Q, 4>(&weights, chunk, last, results);
            chunk += 4;
        }
        while chunk < self.chunks {
            self.weigh::<S, Q, 1>(&weights, chunk, last, results);
            chunk += 1;
        }
    }

    /// Dot products of all positions' keys with `Q` queries.
    #[inline(always)]
    fn scores<S: Simd, const Q: usize>(
        &self,
        queries: [&[[f32; LANES]]; Q],
    ) -> [[S::Floats; TILES]; Q] {
        let mut scores = [[S::splat(0.0); TILES]; Q];
        let (keys, _) = self.keys.as_chunks::<TILES>();
        for (chunk, keys) in keys.as_chunks::<LANES>().0.iter().enumerate() {
            for element in 0..LANES {
                let place = (chunk * LANES + element) * TILES;
                S::prefetch(self.next.wrapping_add(place));
                S::prefetch(self.next.wrapping_add(place + TILES / 2));
                let mut vectors = [S::splat(0.0); TILES];
                for tile in 0..TILES {
                    vectors[tile] = T::load::<S>(&keys[element][tile]);
                }
                for query in 0..Q {
                    let x = S::splat(queries[query][chunk][element]);
                    for tile in 0..TILES {
                        scores[query][tile] = S::fma(vectors[tile], x, scores[query][tile]);
                    }
                }
            }
        }
        scores
    }

    /// `C` vectors of the weighted values, from the page's first `tiles`.
    #[inline(always)]
    fn weigh<S: Simd, const Q: usize, const C: usize>(
        &self,
        weights: &[[[f32; LANES]; TILES]; Q],
        chunk: usize,
        tiles: usize,
        results: &mut [[f32; LANES]],
    ) {
        let mut sums = [[S::splat(0.0); C]; Q];
        for tile in 0..tiles {
            for lane in 0..LANES {
                let place = (tile * LANES + lane) * self.chunks + chunk;
                let next_values = self.next.wrapping_add(self.keys.len());
                S::prefetch(next_values.wrapping_add(place));
                S::prefetch(next_values.wrapping_add(place + C / 2));
                let Some(values) = self.values[place..].first_chunk::<C>() else {
                    unreachable!("a position's values are whole");
                };
                let mut vectors = [S::splat(0.0); C];
                for index in 0..C {
                    vectors[index] = T::load::<S>(&values[index]);
                }
                for query in 0..Q {
                    let weight = S::splat(weights[query][tile][lane]);
                    for index in 0..C {
                        sums[query][index] = S::fma(vectors[index], weight, sums[query][index]);
                    }
                }
            }
        }
        for query in 0..Q {
            for index in 0..C {
                let place = query * (1 + self.chunks) + 1 + chunk + index;
                S::store(sums[query][index], &mut results[place]);
            }
        }
    }
}

/// Adds what a query got from a page to what it got from the pages before.
#[inline(always)]
fn fold<S: Simd>(total: &mut [[f32; LANES]], page: &[[f32; LANES]]) {
    let ([largest, sum, ..], [page_largest, page_sum, ..]) = (total[0], page[0]);
    if page_largest == f32::NEG_INFINITY {
        return;
    }
    let both = if page_largest > largest {
        page_largest
    } else {
        largest
    };
    let mut factors = [0.0; LANES];
    let distances = [largest - both, page_largest - both];
    let distances = load_some::<S>(&distances);
    S::store(exp::<S>(distances), &mut factors);
    let [before, now, ..] = factors;
    total[0][0] = both;
    total[0][1] = sum.mul_add(before, page_sum * now);
    let (before, now) = (S::splat(before), S::splat(now));
    for (total, page) in total[1..].iter_mut().zip(&page[1..]) {
        let sum = S::fma(S::load(total), before, S::mul(S::load(page), now));
        S::store(sum, total);
    }
}

/// A query that has seen nothing yet.
#[inline(always)]
fn clear(total: &mut [[f32; LANES]]) {
    total.fill([0.0; LANES]);
    total[0][0] = f32::NEG_INFINITY;
}

impl<T: Element> Kernel for Attend<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self) {
        let count = self.count * self.attention.group();
        let stride = 1 + self.attention.chunks();
        let (totals, current) = std::mem::take(&mut self.results).split_at_mut(count * stride);
        let folded = !current.is_empty();
        if folded {
            totals.chunks_exact_mut(stride).for_each(clear);
        }
        for page in self.pages.clone() {
            for group in groups(count, S::QUERIES) {
                let own = group.first * stride..(group.first + group.rows) * stride;
                let results = if folded {
                    &mut current[..group.rows * stride]
                } else {
                    &mut totals[own.clone()]
                };
                match group.rows {
                    1 => self.attend::<S, 1>(page, group.first, results),
                    2 if S::QUERIES >= 2 => self.attend::<S, 2>(page, group.first, results),
                    3 if S::QUERIES >= 3 => self.attend::<S, 3>(page, group.first, results),
                    4 if S::QUERIES >= 4 => self.attend::<S, 4>(page, group.first, results),
                    5 if S::QUERIES >= 5 => self.attend::<S, 5>(page, group.first, results),
                    6 if S::QUERIES >= 6 => self.attend::<S, 6>(page, group.first, results),
                    queries => unreachable!("a group of {queries} queries"),
                }
                if folded {
                    let totals = totals[own].chunks_exact_mut(stride);
                    for (total, result) in totals.zip(current.chunks_exact(stride)) {
                        fold::<S>(total, result);
                    }
                }
            }
        }
    }
}

impl<T: Element> Attend<'_, T> {
    /// `Q` queries from `first` on, over one page.
    #[inline(always)]
    fn attend<S: Simd, const Q: usize>(
        &self,
        page: usize,
        first: usize,
        results: &mut [[f32; LANES]],
    ) {
        let mut queries = [self.query(first).0; Q];
        let mut seen = [[0; TILES]; Q];
        for index in 0..Q {
            let (query, position) = self.query(first + index);
            queries[index] = query;
            let first_seen = self.attention.first_seen(position);
            for tile in 0..TILES {
                let start = page * PAGE + tile * LANES;
                seen[index][tile] = lanes_between(first_seen, position, start);
            }
        }
        let (layer, head) = (self.attention.layer, self.kv_head);
        let (keys, values) = self.cache.page(page, layer, head);
        let next = match page + 1 < self.pages.end {
            true => (page + 1, head),
            false => self.next,
        };
        let page = Page {
            keys,
            values,
            next: self.cache.page(next.0, layer, next.1).0.as_ptr(),
            chunks: self.attention.chunks(),
            softcap: self.attention.shape.softcap,
        };
        page.attend::<S, Q>(queries, &seen, results);
    }
}

/// Folds the pages of one row's heads and writes the result.
struct Finish<'a> {
    attention: LayerAttention<'a>,
    unit: Unit,
    /// Results of the unit's queries, page after page.
    results: &'a [[f32; LANES]],
    /// Of all rows of the step.
    output: Shared<'a, f32>,
}

impl Kernel for Finish<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (group, shape) = (self.attention.group(), self.attention.shape);
        let chunks = self.attention.chunks();
        let stride = 1 + chunks;
        let count = self.unit.rows * group;
        let mut total = [[0.0; LANES]; 1 + MOST_HEAD_ELEMENTS / LANES];
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
            let place = (row * shape.heads + head) * shape.head_dim;
            // SAFETY: every row's head is written by one thread.
            let output = unsafe { self.output.part(place, shape.head_dim) };
            let sum = S::splat(total[0][1]);
            for (output, values) in output.chunks_mut(LANES).zip(&total[1..]) {
                store_some::<S>(S::div(S::load(values), sum), output);
            }
        }
    }
}

/// Some rows of a segment, with one head of keys.
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

/// How a step's attention is shared out.
struct Plan<'a> {
    attention: LayerAttention<'a>,
    segments: &'a [Segment],
    /// Rows of a unit, at most.
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
                    let last = segment.past + block.first + block.rows - 1;
                    let first_page = self.attention.first_seen(segment.past + block.first) / PAGE;
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
    pub(super) k: &'a Rows,
    pub(super) v: &'a Rows,
    pub(super) segments: &'a [Segment],
    pub(super) arena: &'a Arc<Arena>,
    pub(super) tier: Tier,
    pub(super) pool: &'a Pool,
}

impl Attention<'_> {
    /// Runs it; `caches` are those of the segments, with room for their rows.
    pub(super) fn run<'c, T: Element>(
        &self,
        cache_of: impl Fn(usize) -> &'c Cache<T> + Sync,
    ) -> Rows {
        let (tier, attention) = (self.tier, self.layer);
        let shape = attention.shape;
        let rows = self.q.rows;
        let chunks = attention.chunks();
        let mut queries = Rows::new(self.arena, rows * shape.heads, chunks * LANES);
        self.append(&cache_of, Shared::new(queries.values_mut()));
        let queries = queries.values().as_chunks().0;

        let mut output = Rows::new(self.arena, rows, shape.heads * shape.head_dim);
        let written = Shared::new(output.values_mut());
        let plan = Plan {
            attention,
            segments: self.segments,
            rows: (UNIT_QUERIES / attention.group()).max(1),
        };
        let attend = |unit: Unit, pages: Range<usize>, next, results: &mut [[f32; LANES]]| {
            tier.run(Attend {
                attention,
                cache: cache_of(unit.segment),
                queries,
                segment: self.segments[unit.segment],
                kv_head: unit.kv_head,
                first: unit.first,
                count: unit.rows,
                pages,
                next,
                results,
            });
        };
        let finish = |unit: Unit, results: &[[f32; LANES]]| {
            tier.run(Finish {
                attention,
                unit,
                results,
                output: written,
            });
        };
        // Of a unit's queries, for one page.
        let width = |unit: &Unit| unit.rows * attention.group() * (1 + chunks) * LANES;
        let units = plan.units().count();
        if self.pool.threads() == 1 || units >= 3 * self.pool.threads() {
            self.pool.for_each(units, &|item| {
                let Some(unit) = plan.units().nth(item) else {
                    return;
                };
                let room = width(&unit) + MOST_QUERIES * (1 + chunks) * LANES;
                let mut results = Rows::new(self.arena, 1, room);
                let pages = unit.first_page..unit.first_page + unit.pages;
                let next = (unit.first_page, unit.kv_head);
                attend(unit, pages, next, results.values_mut().as_chunks_mut().0);
                let folded = &results.values()[..width(&unit)];
                finish(unit, folded.as_chunks().0);
            });
            return output;
        }
        // Few queries and many pages: the pages are shared out, too.
        let total = plan.units().map(|unit| unit.pages * width(&unit)).sum();
        let mut results = Rows::new(self.arena, 1, total);
        let shared = Shared::new(results.values_mut());
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
                        // SAFETY: every page of every unit has a place of its own.
                        let own = unsafe { shared.part(start + item * width(&unit), width(&unit)) };
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
        let parallel = total >= WORTHWHILE_FOLD;
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
        queries: Shared<'_, f32>,
    ) {
        let append = |index: usize, first: usize, count: usize| {
            self.tier.run(Append {
                attention: self.layer,
                q: self.q,
                k: self.k,
                v: self.v,
                cache: cache_of(index),
                segment: self.segments[index],
                first,
                count,
                queries,
            });
        };
        if self.q.rows < WORTHWHILE_ROWS {
            for (index, segment) in self.segments.iter().enumerate() {
                append(index, 0, segment.rows);
            }
            return;
        }
        let items = |segment: &Segment| segment.rows.div_ceil(APPEND_SHARE);
        self.pool
            .for_each(self.segments.iter().map(items).sum(), &|mut item| {
                for (index, segment) in self.segments.iter().enumerate() {
                    if item < items(segment) {
                        let first = item * APPEND_SHARE;
                        return append(index, first, APPEND_SHARE.min(segment.rows - first));
                    }
                    item -= items(segment);
                }
            });
    }
}
