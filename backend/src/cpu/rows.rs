//! Activations: rows of a step, and the formats in which matrices are multiplied with them.

use std::sync::{Arc, Mutex, PoisonError};

use super::math::{load_some, store_some};
use super::memory::{Scratch, UnsafeSlice};
use super::pool::Pool;
use super::simd::{LANES, Simd};
use super::tier::{Kernel, Tier};
use crate::formats::BLOCK;
use crate::{HostRows, NormKind};

/// Reusable buffers for activations: once there are enough of them, a step allocates nothing.
#[derive(Default)]
pub(super) struct BufferPool(Mutex<Vec<Vec<f32>>>);

impl BufferPool {
    /// A buffer of at least `length` elements, of unspecified values.
    fn take(&self, length: usize) -> Vec<f32> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = (0..free.len()).filter(|index| free[*index].len() >= length);
        match fitting.min_by_key(|index| free[*index].len()) {
            Some(index) => free.swap_remove(index),
            None => vec![0.0; length],
        }
    }

    fn give_back(&self, buffer: Vec<f32>) {
        // What rows that moved to the host leave: each would make the next search longer.
        if buffer.is_empty() {
            return;
        }
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffer);
    }
}

/// Activations `[rows, width]`.
#[allow(clippy::struct_field_names, reason = "`rows` is their number")]
pub struct Rows {
    buffer: Vec<f32>,
    pub(super) rows: usize,
    pub(super) width: usize,
    buffers: Arc<BufferPool>,
}

impl Rows {
    /// Rows of unspecified values.
    pub(super) fn new(buffers: &Arc<BufferPool>, rows: usize, width: usize) -> Self {
        Self {
            buffer: buffers.take(rows * width),
            rows,
            width,
            buffers: buffers.clone(),
        }
    }

    /// Rows of these values.
    pub(super) fn of_values(buffers: &Arc<BufferPool>, values: &[f32], width: usize) -> Self {
        let mut rows = Self::new(buffers, values.len() / width.max(1), width);
        rows.values_mut().copy_from_slice(values);
        rows
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.buffer[..self.rows * self.width]
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.rows * self.width]
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.width..][..self.width]
    }
}

impl Rows {
    /// Appends the rows to those on the host; none are left here.
    pub(super) fn move_to(&mut self, host: &mut HostRows) {
        host.take(&mut self.buffer, self.rows * self.width);
        self.rows = 0;
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.buffer));
    }
}

/// The minimum number of blocks that are packed by several threads: fewer take a microsecond.
const MIN_PARALLEL_BLOCKS: usize = 64;

/// The number of quantized blocks past the last one, which tiles load and ignore.
const PADDING: usize = 16;

/// A norm's parameters.
#[derive(Clone, Copy)]
pub(super) struct NormWeights<'a> {
    pub(super) kind: NormKind,
    pub(super) weight: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
}

impl NormWeights<'_> {
    /// Normalizes a row.
    #[inline(always)]
    pub(super) fn apply<S: Simd>(&self, x: &[f32], output: &mut [f32]) {
        let width = x.len() as f32;
        let (mean, epsilon) = match self.kind {
            NormKind::Rms(epsilon) => (0.0, epsilon),
            NormKind::Layer(epsilon) => (sum::<S>(x) / width, epsilon),
        };
        let variance = squares::<S>(x, mean) / width;
        let (mean, factor) = (S::splat(mean), S::splat(1.0 / (variance + epsilon).sqrt()));
        for (index, x) in x.chunks(LANES).enumerate() {
            let lanes = index * LANES..index * LANES + x.len();
            let centered = S::sub(load_some::<S>(x), mean);
            let weight = load_some::<S>(&self.weight[lanes.clone()]);
            let mut y = S::mul(S::mul(centered, factor), weight);
            if let Some(bias) = self.bias {
                y = S::add(y, load_some::<S>(&bias[lanes.clone()]));
            }
            store_some::<S>(y, &mut output[lanes]);
        }
    }
}

#[inline(always)]
pub(super) fn sum<S: Simd>(x: &[f32]) -> f32 {
    let mut lanes = S::splat(0.0);
    for x in x.chunks(LANES) {
        lanes = S::add(lanes, load_some::<S>(x));
    }
    S::sum(lanes)
}

/// The sum of the squared distances from `mean`.
#[inline(always)]
pub(super) fn squares<S: Simd>(x: &[f32], mean: f32) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut lanes = S::splat(0.0);
    for x in whole {
        let x = S::sub(S::load(x), S::splat(mean));
        lanes = S::fma(x, x, lanes);
    }
    if !rest.is_empty() {
        let x = S::sub(load_some::<S>(rest), S::splat(mean));
        // Lanes past the end would add the square of the mean: mask them out.
        let x = S::select((1 << rest.len()) - 1, x, S::splat(0.0));
        lanes = S::fma(x, x, lanes);
    }
    S::sum(lanes)
}

/// 32 activations in 8 bits: `scale * quant`.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct QuantizedX {
    pub(super) quants: [i8; BLOCK],
    pub(super) scale: f32,
    /// The sum of the activations, as quantized.
    pub(super) sum: f32,
    /// The sums of the quants in each half.
    pub(super) half_sums: [i32; 2],
}

impl QuantizedX {
    const ZERO: Self = Self {
        quants: [0; BLOCK],
        scale: 0.0,
        sum: 0.0,
        half_sums: [0; 2],
    };

    #[inline(always)]
    fn quantize<S: Simd>(&mut self, x: &[f32; BLOCK]) {
        let (halves, _) = x.as_chunks::<LANES>();
        let (low, high) = (S::load(&halves[0]), S::load(&halves[1]));
        let size = |x| S::max(x, S::sub(S::splat(0.0), x));
        let largest = S::largest(S::max(size(low), size(high)));
        let inverse = S::splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
        let quants = [
            S::round(S::mul(low, inverse)),
            S::round(S::mul(high, inverse)),
        ];
        let (stored, _) = self.quants.as_chunks_mut::<LANES>();
        S::store_i8(quants[0], &mut stored[0]);
        S::store_i8(quants[1], &mut stored[1]);
        self.half_sums = [S::sum_ints(quants[0]), S::sum_ints(quants[1])];
        self.scale = largest / 127.0;
        self.sum = self.scale * (self.half_sums[0] + self.half_sums[1]) as f32;
    }
}

/// Consecutive rows that a weight block is multiplied with at once.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// Divides `rows` rows into the fewest groups of at most `max`, as evenly as possible.
#[inline(always)]
pub(super) fn groups(rows: usize, max: usize) -> impl Iterator<Item = Group> {
    let count = rows.div_ceil(max);
    (0..count).map(move |index| Group::of_index(index, count, rows))
}

impl Group {
    #[inline(always)]
    fn of_index(index: usize, count: usize, rows: usize) -> Self {
        let first = index * rows / count;
        Self {
            first,
            rows: (index + 1) * rows / count - first,
        }
    }

    /// The group of a row, among [`groups`] of the same numbers.
    #[inline(always)]
    fn of_row(row: usize, rows: usize, max: usize) -> Self {
        let count = rows.div_ceil(max);
        Self::of_index(((row + 1) * count - 1) / rows, count, rows)
    }

    /// The index of a row's block, where a group's first blocks come before its second blocks, and so on.
    #[inline(always)]
    fn block_index(self, row: usize, block: usize, blocks: usize) -> usize {
        self.first * blocks + block * self.rows + row - self.first
    }
}

/// A step's rows, packed for multiplication: cut into blocks of 32 inputs. Groups follow each other; within a group, the
/// first blocks of all its rows come before their second blocks, and so on.
#[derive(Default)]
pub(super) struct PackedActivations {
    rows: usize,
    blocks: usize,
    quantized: Vec<QuantizedX>,
    floats: Vec<[f32; BLOCK]>,
}

/// The formats of activations that products need.
#[derive(Clone, Copy, Default)]
pub(super) struct ActivationFormats {
    pub(super) quantized: bool,
    pub(super) floats: bool,
}

impl PackedActivations {
    /// Packs rows (normalized, if there is a norm) in these formats.
    pub(super) fn pack(
        &mut self,
        x: &Rows,
        norm: Option<NormWeights<'_>>,
        formats: ActivationFormats,
        tier: Tier,
        pool: &Pool,
    ) {
        self.rows = x.rows;
        self.blocks = x.width.div_ceil(BLOCK);
        let total = self.rows * self.blocks;
        // They only grow, so that later steps allocate nothing.
        if formats.quantized && self.quantized.len() < total + PADDING {
            self.quantized.resize(total + PADDING, QuantizedX::ZERO);
        }
        if formats.floats && self.floats.len() < total {
            self.floats.resize(total, [0.0; BLOCK]);
        }
        let quantized_rows = tier.quantized_rows_at_once(self.rows);
        let quantized = UnsafeSlice::new(&mut self.quantized);
        let floats = UnsafeSlice::new(&mut self.floats);
        let blocks = self.blocks;
        let pack = |first: usize, rows: usize| {
            tier.run_floats(Pack {
                x,
                norm,
                formats,
                first,
                rows,
                blocks,
                quantized_rows,
                quantized,
                floats,
            });
        };
        if total < MIN_PARALLEL_BLOCKS {
            pack(0, x.rows);
        } else {
            let share = x.rows.div_ceil(4 * pool.threads());
            pool.for_each(x.rows.div_ceil(share), &|item| {
                let first = item * share;
                pack(first, share.min(x.rows - first));
            });
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// A group's blocks, and after the last one those that a tile loads and ignores.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn quantized_for_tiles(&self, group: Group) -> &[QuantizedX] {
        &self.quantized[group.first * self.blocks..][..group.rows * self.blocks + PADDING]
    }
}

/// A format that rows are packed in: 32 inputs of one row.
pub(super) trait PackedFormat: Copy {
    /// A group's blocks, those of its `M` rows side by side.
    fn blocks<const M: usize>(x: &PackedActivations, group: Group) -> &[[Self; M]];
}

impl PackedFormat for QuantizedX {
    #[inline(always)]
    fn blocks<const M: usize>(x: &PackedActivations, group: Group) -> &[[Self; M]] {
        let start = group.first * x.blocks;
        x.quantized[start..start + M * x.blocks].as_chunks().0
    }
}

impl PackedFormat for [f32; BLOCK] {
    #[inline(always)]
    fn blocks<const M: usize>(x: &PackedActivations, group: Group) -> &[[Self; M]] {
        let start = group.first * x.blocks;
        x.floats[start..start + M * x.blocks].as_chunks().0
    }
}

struct Pack<'a> {
    x: &'a Rows,
    norm: Option<NormWeights<'a>>,
    formats: ActivationFormats,
    first: usize,
    rows: usize,
    blocks: usize,
    /// The maximum number of rows of a group in the quantized format.
    quantized_rows: usize,
    quantized: UnsafeSlice<'a, QuantizedX>,
    floats: UnsafeSlice<'a, [f32; BLOCK]>,
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let mut normed = Scratch::new(self.x.width);
        let normed = &mut normed.values_mut()[..self.x.width];
        for row in self.first..self.first + self.rows {
            let x = match &self.norm {
                Some(norm) => {
                    norm.apply::<S>(self.x.row(row), normed);
                    &*normed
                }
                None => self.x.row(row),
            };
            let groups = [
                Group::of_row(row, self.x.rows, self.quantized_rows),
                Group::of_row(row, self.x.rows, S::ROWS),
            ];
            let (whole, rest) = x.as_chunks::<BLOCK>();
            for (block, x) in whole.iter().enumerate() {
                self.write::<S>(groups, row, block, x);
            }
            if !rest.is_empty() {
                let mut x = [0.0; BLOCK];
                x[..rest.len()].copy_from_slice(rest);
                self.write::<S>(groups, row, whole.len(), &x);
            }
        }
    }
}

impl Pack<'_> {
    /// Writes a block of a row that this thread packs, given the row's groups among quantized rows and among floats.
    #[inline(always)]
    fn write<S: Simd>(&self, groups: [Group; 2], row: usize, block: usize, x: &[f32; BLOCK]) {
        let [quantized, floats] = groups.map(|group| group.block_index(row, block, self.blocks));
        // SAFETY: each row has indices of its own, and is packed by one thread.
        unsafe {
            if self.formats.quantized {
                self.quantized.slice_mut(quantized, 1)[0].quantize::<S>(x);
            }
            if self.formats.floats {
                self.floats.slice_mut(floats, 1)[0] = *x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_move_to_the_host_leave_no_empty_buffers() {
        let buffers = Arc::default();
        for _ in 0..10 {
            let mut host = HostRows::default();
            Rows::of_values(&buffers, &[1.0, 2.0], 2).move_to(&mut host);
            assert_eq!(host.values(), [1.0, 2.0]);
        }
        assert!(buffers.0.lock().unwrap().is_empty());
        // What the host gives in return is used again.
        let mut host = HostRows::default();
        for _ in 0..10 {
            host.clear();
            Rows::of_values(&buffers, &[1.0, 2.0], 2).move_to(&mut host);
        }
        assert_eq!(buffers.0.lock().unwrap().len(), 1);
    }
}
