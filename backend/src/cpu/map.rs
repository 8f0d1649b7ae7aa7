//! Operations on rows, one by one or element by element.

use std::ops::Range;

use super::math;
use super::memory::UnsafeSlice;
use super::pool::Pool;
use super::recurrent::map_row;
use super::rows::{NormWeights, Rows};
use super::simd::{LANES, Simd};
use super::tier::{Kernel, Tier};
use crate::{Activation, RowMap};

/// An operation on every row.
pub(super) trait RowWork: Sync {
    fn apply<S: Simd>(&self, row: usize, x: &[f32], output: &mut [f32]);
}

/// The number of elements that a thread computes at a time: fewer take only a few microseconds.
const ELEMENTS_AT_ONCE: usize = 1 << 14;

/// Applies `work` to every row, into `output`.
pub(super) fn map_rows(x: &Rows, output: &mut Rows, work: &impl RowWork, tier: Tier, pool: &Pool) {
    let (rows, width) = (x.rows, output.width);
    let at_once = (ELEMENTS_AT_ONCE / x.width.max(width).max(1)).max(1);
    let output = UnsafeSlice::new(output.values_mut());
    pool.for_each(rows.div_ceil(at_once), &|item| {
        let first = item * at_once;
        let count = at_once.min(rows - first);
        // SAFETY: each row is written by one thread.
        let output = unsafe { output.slice_mut(first * width, count * width) };
        tier.run_floats(MapRows {
            x,
            first,
            output,
            width,
            work,
        });
    });
}

/// Some rows of one thread.
struct MapRows<'a, W> {
    x: &'a Rows,
    first: usize,
    output: &'a mut [f32],
    width: usize,
    work: &'a W,
}

impl<W: RowWork> Kernel for MapRows<'_, W> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        for (index, output) in self.output.chunks_mut(self.width.max(1)).enumerate() {
            let row = self.first + index;
            self.work.apply::<S>(row, self.x.row(row), output);
        }
    }
}

/// What a row of a recurrent layer passes through, with the parts after the first.
pub(super) struct Parts<'a> {
    pub(super) map: &'a RowMap,
    pub(super) more: &'a [Rows],
}

impl RowWork for Parts<'_> {
    #[inline(always)]
    fn apply<S: Simd>(&self, row: usize, x: &[f32], output: &mut [f32]) {
        match self.more {
            [] => map_row::<S>(self.map, &[x], output),
            [second] => map_row::<S>(self.map, &[x, second.row(row)], output),
            [second, third] => {
                map_row::<S>(self.map, &[x, second.row(row), third.row(row)], output);
            }
            _ => unreachable!("a map has one part to three"),
        }
    }
}

impl RowWork for NormWeights<'_> {
    #[inline(always)]
    fn apply<S: Simd>(&self, _: usize, x: &[f32], output: &mut [f32]) {
        NormWeights::apply::<S>(self, x, output);
    }
}

/// An operation on sixteen elements at a time, those at `lanes` of a row.
pub(super) trait LaneWork: Sync {
    fn apply<S: Simd>(&self, row: usize, lanes: Range<usize>, x: S::Floats) -> S::Floats;
}

/// [`LaneWork`] for whole rows.
pub(super) struct EachLane<W>(pub(super) W);

impl<W: LaneWork> RowWork for EachLane<W> {
    #[inline(always)]
    fn apply<S: Simd>(&self, row: usize, x: &[f32], output: &mut [f32]) {
        let vectors = x.chunks(LANES).zip(output.chunks_mut(LANES));
        for (index, (x, output)) in vectors.enumerate() {
            let lanes = index * LANES..index * LANES + x.len();
            let result = self.0.apply::<S>(row, lanes, math::load_some::<S>(x));
            math::store_some::<S>(result, output);
        }
    }
}

impl LaneWork for Activation {
    #[inline(always)]
    fn apply<S: Simd>(&self, _: usize, _: Range<usize>, x: S::Floats) -> S::Floats {
        math::activate::<S>(x, *self)
    }
}

pub(super) struct Softcap(pub(super) f32);

impl LaneWork for Softcap {
    #[inline(always)]
    fn apply<S: Simd>(&self, _: usize, _: Range<usize>, x: S::Floats) -> S::Floats {
        math::softcap::<S>(x, self.0)
    }
}

pub(super) struct Scale(pub(super) f32);

impl LaneWork for Scale {
    #[inline(always)]
    fn apply<S: Simd>(&self, _: usize, _: Range<usize>, x: S::Floats) -> S::Floats {
        S::mul(x, S::splat(self.0))
    }
}

pub(super) struct Add<'a>(pub(super) &'a Rows);

impl LaneWork for Add<'_> {
    #[inline(always)]
    fn apply<S: Simd>(&self, row: usize, lanes: Range<usize>, x: S::Floats) -> S::Floats {
        S::add(x, math::load_some::<S>(&self.0.row(row)[lanes]))
    }
}

pub(super) struct Multiply<'a>(pub(super) &'a Rows);

impl LaneWork for Multiply<'_> {
    #[inline(always)]
    fn apply<S: Simd>(&self, row: usize, lanes: Range<usize>, x: S::Floats) -> S::Floats {
        S::mul(x, math::load_some::<S>(&self.0.row(row)[lanes]))
    }
}
