//! Operations on rows, one by one or element by element.

use std::ops::Range;

use super::math;
use super::rows::{NormWeights, Rows};
use super::simd::{LANES, Simd};
use super::tier::Kernel;
use crate::Activation;

/// An operation on every row.
pub(super) trait RowWork {
    fn apply<S: Simd>(&self, row: usize, x: &[f32], output: &mut [f32]);
}

/// Applies `work` to every row.
pub(super) struct MapRows<'a, W> {
    pub(super) x: &'a Rows,
    pub(super) output: &'a mut Rows,
    pub(super) work: W,
}

impl<W: RowWork> Kernel for MapRows<'_, W> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let width = self.x.width;
        for (row, output) in self.output.values_mut().chunks_mut(width).enumerate() {
            self.work.apply::<S>(row, self.x.row(row), output);
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
pub(super) trait LaneWork {
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
