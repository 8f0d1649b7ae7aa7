//! Queries over pages of the cache.

use std::ops::Range;

use super::super::cache::{Cache, Element, PAGE};
use super::super::rows::groups;
use super::super::simd::{LANES, Simd};
use super::super::tier::Kernel;
use super::page::{Page, clear, fold, weigh};
use super::{LayerAttention, TILES};
use crate::{MAX_TREE_ROWS, Mask, Segment};

/// The maximum number of pages that a tree's rows are stored in.
const SLOT_PAGES: usize = 1 + MAX_TREE_ROWS.div_ceil(PAGE);

/// Queries of one head of keys, over some pages.
pub(super) struct Attend<'a, T> {
    pub(super) attention: LayerAttention<'a>,
    pub(super) cache: &'a Cache<T>,
    pub(super) queries: &'a [[f32; LANES]],
    pub(super) segment: Segment,
    /// For each row of the segment, if it is a tree: the rows that it sees, as bits.
    pub(super) ancestors: &'a [u64],
    pub(super) kv_head: usize,
    /// Rows of the segment.
    pub(super) first: usize,
    pub(super) count: usize,
    /// Pages by position: a tree's rows are stored in other slots.
    pub(super) pages: Range<usize>,
    /// Page and head that this thread probably attends to next.
    pub(super) next: (usize, usize),
    /// For each query `[largest score, sum of weights, ...]` and the weighted values: of the one page, or of all pages
    /// folded.
    pub(super) results: &'a mut [[f32; LANES]],
}

impl<T> Attend<'_, T> {
    /// The row of a query of this unit, counted within the segment.
    #[inline(always)]
    fn row(&self, query: usize) -> usize {
        self.first + query / self.attention.group()
    }

    #[inline(always)]
    fn position(&self, query: usize) -> usize {
        self.segment.position(self.row(query), self.ancestors)
    }

    /// The vectors of `Q` queries.
    #[inline(always)]
    fn queries<const Q: usize>(&self, first: usize) -> [&[[f32; LANES]]; Q] {
        let (group, chunks) = (self.attention.group(), self.attention.chunks());
        let mut queries = [&self.queries[..0]; Q];
        for index in 0..Q {
            let row = self.segment.first_row + self.row(first + index);
            let head = self.kv_head * group + (first + index) % group;
            let start = (row * self.attention.shape.heads + head) * chunks;
            queries[index] = &self.queries[start..start + chunks];
        }
        queries
    }

    /// The positions of a page that `Q` queries see.
    #[inline(always)]
    fn seen<const Q: usize>(&self, first: usize, page: usize) -> [[u16; TILES]; Q] {
        let mut seen = [[0; TILES]; Q];
        for index in 0..Q {
            let first_seen = self.attention.first_seen(self.position(first + index));
            let last_seen = self
                .segment
                .last_seen(self.row(first + index), self.ancestors);
            for tile in 0..TILES {
                let start = page * PAGE + tile * LANES;
                seen[index][tile] = lanes_between(first_seen, last_seen, start);
            }
        }
        seen
    }
}

/// The positions of a tile from `first` to `last` (inclusive), as bits.
#[inline(always)]
fn lanes_between(first: usize, last: usize, tile_start: usize) -> u16 {
    let low = first.saturating_sub(tile_start).min(LANES);
    let high = (last + 1).saturating_sub(tile_start).min(LANES);
    let below = |lane: usize| (1_u32 << lane) - 1;
    (below(high) & !below(low)) as u16
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

/// Number of tiles up to the last one that any query sees a position of.
#[inline(always)]
fn seen_tiles<const Q: usize>(seen: &[[u16; TILES]; Q]) -> usize {
    let mut tiles = 0;
    for tile in 0..TILES {
        for query in 0..Q {
            if seen[query][tile] != 0 {
                tiles = tile + 1;
            }
        }
    }
    tiles
}

impl<T: Element> Attend<'_, T> {
    /// A page's keys and values.
    #[inline(always)]
    fn page(&self, page: usize, next: (usize, usize)) -> Page<'_, T> {
        let layer = self.attention.layer;
        let next = self.cache.page(next.0, layer, next.1);
        Page {
            head: self.cache.page(page, layer, self.kv_head),
            next: [next.keys.as_ptr(), next.values.as_ptr()],
            chunks: self.attention.chunks(),
        }
    }

    /// `Q` queries from `first` on, over one page.
    #[inline(always)]
    fn attend<S: Simd, const Q: usize>(
        &self,
        page: usize,
        first: usize,
        results: &mut [[f32; LANES]],
    ) {
        if self.segment.mask == Mask::Tree && page >= self.segment.past / PAGE {
            return self.attend_tree::<S, Q>(page, first, results);
        }
        let queries = self.queries::<Q>(first);
        let seen = self.seen::<Q>(first, page);
        let next = match page + 1 < self.pages.end {
            true => (page + 1, self.kv_head),
            false => self.next,
        };
        let page = self.page(page, next);
        let (cap, stride) = (self.attention.shape.softcap, 1 + page.chunks);
        let mut scores = page.scores::<S, Q>(queries);
        let mut weights = [[[0.0; LANES]; TILES]; Q];
        weigh::<S, Q>(&mut scores, &seen, cap, stride, &mut weights, results);
        page.add_values::<S, Q>(&mut weights, seen_tiles(&seen), false, results);
    }

    /// `Q` queries of a tree from `first` on, over a page that contains positions of its rows.
    ///
    /// Scores are permuted from the rows' slots to their positions, and weights back, so that a row gets the bits that it
    /// would get at the end of a chain: the same lanes, and the values in the same order.
    #[inline(always)]
    fn attend_tree<S: Simd, const Q: usize>(
        &self,
        page: usize,
        first: usize,
        results: &mut [[f32; LANES]],
    ) {
        let queries = self.queries::<Q>(first);
        let seen = self.seen::<Q>(first, page);
        // The rows' slots are in this page and, since a tree is no larger than one, in the next.
        let start = page * PAGE;
        let last = (self.segment.past + self.segment.rows - 1) / PAGE;
        let pages = page..(last + 1).min(page + SLOT_PAGES);

        let mut by_slot = [[[[0.0; LANES]; TILES]; SLOT_PAGES]; Q];
        for slots in pages.clone() {
            let scores = self.page(slots, self.next).scores::<S, Q>(queries);
            for query in 0..Q {
                for tile in 0..TILES {
                    let stored = &mut by_slot[query][slots - page][tile];
                    S::store(scores[query][tile], stored);
                }
            }
        }
        let mut slots = [[0; PAGE]; Q];
        let mut scores = [[S::splat(0.0); TILES]; Q];
        for query in 0..Q {
            slots[query] = self.slots(self.row(first + query), start);
            let by_slot = by_slot[query].as_flattened().as_flattened();
            for tile in 0..TILES {
                let mut lanes = [0.0; LANES];
                for lane in 0..LANES {
                    lanes[lane] = by_slot[slots[query][tile * LANES + lane]];
                }
                scores[query][tile] = S::load(&lanes);
            }
        }
        let (cap, stride) = (self.attention.shape.softcap, 1 + self.attention.chunks());
        let mut by_position = [[[0.0; LANES]; TILES]; Q];
        weigh::<S, Q>(&mut scores, &seen, cap, stride, &mut by_position, results);
        for index in pages.clone() {
            let mut weights = [[[0.0; LANES]; TILES]; Q];
            for query in 0..Q {
                let by_slot = weights[query].as_flattened_mut();
                let by_position = by_position[query].as_flattened();
                for position in 0..PAGE {
                    let is_seen = seen[query][position / LANES] >> (position % LANES) & 1 == 1;
                    let (slot_page, slot) =
                        (slots[query][position] / PAGE, slots[query][position] % PAGE);
                    if is_seen && slot_page == index - page {
                        by_slot[slot] = by_position[position];
                    }
                }
            }
            let accumulate = index > page;
            let page = self.page(index, self.next);
            page.add_values::<S, Q>(&mut weights, TILES, accumulate, results);
        }
    }

    /// The slots of a page's positions, for a row of a tree, counted from the page's start.
    #[inline(always)]
    fn slots(&self, row: usize, start: usize) -> [usize; PAGE] {
        let mut slots = [0; PAGE];
        for position in 0..PAGE {
            slots[position] = position;
        }
        let mut ancestors = self.ancestors[row];
        let mut position = self.segment.past;
        while ancestors != 0 {
            let slot = self.segment.past + ancestors.trailing_zeros() as usize;
            if (start..start + PAGE).contains(&position) {
                slots[position - start] = slot - start;
            }
            position += 1;
            ancestors &= ancestors - 1;
        }
        slots
    }
}
