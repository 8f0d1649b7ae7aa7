//! Vectors of sixteen lanes: the operations that the kernels are written in.
//!
//! A kernel is written once, over [`Simd`], and compiled for each tier. Every operation is defined to the
//! bit (IEEE 754, or exact integers), so that all tiers compute the same bits; [`scalar`] is the definition.

#[cfg(target_arch = "x86_64")]
pub(super) mod amx;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// The largest sum of products that [`Simd::dot_small`] may leave to be widened. Each call adds two products of a weight
/// with at most 127.
pub(super) const SMALL_SUM: i32 = i16::MAX as i32;

/// The offset that is added to stored signed bytes.
pub(super) const BYTE_OFFSET: i32 = 128;

/// Sixteen lanes of one tier's instructions.
///
/// Implementations contain instructions that not every CPU has: only [`Tier::run`](super::tier::Tier::run), which runs
/// after the CPU was checked, names them.
pub(super) trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen f32.
    type Floats: Copy;
    /// Sixteen i32.
    type Ints: Copy;
    /// Sixteen times four bytes.
    type Bytes: Copy;
    /// Running dot products of bytes: sixteen sums of 32 bits and, on tiers that sum products in 16 bits first, those.
    type Dots: Copy;

    /// Whether [`Self::dot_pair`] takes fewer instructions than its rows one by one.
    const PAIRS_ROWS: bool = false;

    /// The maximum number of rows of activations that a weight block is multiplied with at once.
    const ROWS: usize;
    /// The maximum number of queries that a page of keys is multiplied with while it is in registers.
    const QUERIES: usize;

    fn splat(value: f32) -> Self::Floats;
    fn load(values: &[f32; LANES]) -> Self::Floats;
    fn store(vector: Self::Floats, values: &mut [f32; LANES]);
    /// IEEE half precision, widened.
    fn load_f16(values: &[u16; LANES]) -> Self::Floats;
    /// Rounded to nearest, ties to even.
    fn store_f16(vector: Self::Floats, values: &mut [u16; LANES]);
    fn load_i8(values: &[i8; LANES]) -> Self::Floats;
    /// The upper halves of f32.
    fn load_bf16(values: &[u16; LANES]) -> Self::Floats;

    fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once.
    fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `a` where it is greater, else `b`.
    fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a` where it is less, else `b`.
    fn min(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `x` where `a < b`, else `y`.
    fn select_less(
        a: Self::Floats,
        b: Self::Floats,
        x: Self::Floats,
        y: Self::Floats,
    ) -> Self::Floats;
    /// `x` in the lanes whose bit is set, else `y`.
    fn select(mask: u16, x: Self::Floats, y: Self::Floats) -> Self::Floats;

    /// To the nearest integer, ties to even; the value must fit.
    fn round(a: Self::Floats) -> Self::Ints;
    fn to_floats(a: Self::Ints) -> Self::Floats;
    /// `a * 2^n`, where neither `a` nor the result is subnormal, infinite or NaN.
    fn scale_by_power(a: Self::Floats, n: Self::Ints) -> Self::Floats;
    fn splat_int(value: i32) -> Self::Ints;
    fn load_ints(values: &[i32; LANES]) -> Self::Ints;
    fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    fn store_ints(vector: Self::Ints, values: &mut [i32; LANES]);
    /// As bytes; the values must fit.
    #[inline(always)]
    fn store_i8(vector: Self::Ints, values: &mut [i8; LANES]) {
        let mut lanes = [0; LANES];
        Self::store_ints(vector, &mut lanes);
        for lane in 0..LANES {
            values[lane] = lanes[lane] as i8;
        }
    }
    #[inline(always)]
    fn sum_ints(vector: Self::Ints) -> i32 {
        let mut lanes = [0; LANES];
        Self::store_ints(vector, &mut lanes);
        lanes.iter().sum()
    }
    /// The sum of all lanes, by halving: the upper eight are added to the lower eight, and so on.
    #[inline(always)]
    fn sum(vector: Self::Floats) -> f32 {
        let mut lanes = [0.0; LANES];
        Self::store(vector, &mut lanes);
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
            width /= 2;
        }
        lanes[0]
    }
    /// The largest lane; no lane may be NaN.
    #[inline(always)]
    fn largest(vector: Self::Floats) -> f32 {
        let mut lanes = [0.0; LANES];
        Self::store(vector, &mut lanes);
        let larger = |a: f32, b: f32| if a > b { a } else { b };
        lanes.into_iter().fold(f32::NEG_INFINITY, larger)
    }
    /// Prefetches the cache line of this address.
    #[inline(always)]
    fn prefetch<T>(_address: *const T) {}

    fn load_bytes(bytes: &[u8; 4 * LANES]) -> Self::Bytes;
    fn store_bytes(vector: Self::Bytes, bytes: &mut [u8; 4 * LANES]);
    /// The lower and the upper half of each byte.
    fn nibbles(bytes: Self::Bytes) -> (Self::Bytes, Self::Bytes);
    /// From consecutive bits, one per byte: 16 in the bytes whose bit is set, else 0.
    fn fifth_bits(bits: [u8; 8]) -> Self::Bytes;
    /// Bits `2 * index` and `2 * index + 1` of each byte, as 16 and 32: a byte holds two bits for each of four vectors.
    fn upper_bits(packed: Self::Bytes, index: usize) -> Self::Bytes;
    fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// The table's entry for each byte, which is below 16.
    fn look_up(table: &[u8; 16], indices: Self::Bytes) -> Self::Bytes;
    /// Dot products that start with this value, for [`Self::dot_small`].
    fn start_small(first: i32) -> Self::Dots;
    /// Adds to each lane the dot product of its four weights, unsigned and below 64, with `x`. [`Self::widen`] must
    /// follow before the 16 bits of [`SMALL_SUM`] are exceeded.
    fn dot_small(dots: Self::Dots, weights: Self::Bytes, x: [i8; 4]) -> Self::Dots;
    /// Adds the sums of 16 bits, if the tier has any, to those of 32 bits.
    fn widen(dots: Self::Dots) -> Self::Dots;
    /// Dot products that start at 0, for [`Self::dot_bytes`], given the sum of all its `x`.
    fn start_bytes(sum_of_x: i32) -> Self::Dots;
    /// Adds to each lane the dot product of its four weights, stored plus 128, with `x`, which is never -128.
    fn dot_bytes(dots: Self::Dots, weights: Self::Bytes, x: [i8; 4]) -> Self::Dots;
    /// The sums, once all are widened.
    fn sums(dots: Self::Dots) -> Self::Ints;

    /// Dot products that start at 0, for weights that are stored plus `offset`, given the sum of all their `x`.
    #[inline(always)]
    fn start(offset: i32, sum_of_x: i32) -> Self::Dots {
        match offset {
            BYTE_OFFSET => Self::start_bytes(sum_of_x),
            _ => Self::start_small(-offset * sum_of_x),
        }
    }
    /// Adds the dot products of weights that are stored plus `offset`.
    #[inline(always)]
    fn dot(offset: i32, dots: Self::Dots, weights: Self::Bytes, x: [i8; 4]) -> Self::Dots {
        match offset {
            BYTE_OFFSET => Self::dot_bytes(dots, weights, x),
            _ => Self::dot_small(dots, weights, x),
        }
    }
    /// [`Self::start`] for two rows, whose dot products may lie in any order until [`Self::sums_of_pair`].
    #[inline(always)]
    fn start_pair(offset: i32, sums_of_x: [i32; 2]) -> [Self::Dots; 2] {
        one_by_one::start::<Self>(offset, sums_of_x)
    }
    /// Adds the dot products of two vectors of weights with eight activations of each of two rows; nothing is left to be
    /// widened.
    #[inline(always)]
    fn dot_pair(
        offset: i32,
        dots: [Self::Dots; 2],
        weights: [Self::Bytes; 2],
        x: [[i8; 8]; 2],
    ) -> [Self::Dots; 2] {
        one_by_one::dot::<Self>(offset, dots, weights, x)
    }
    /// The sums of each of two rows.
    #[inline(always)]
    fn sums_of_pair(dots: [Self::Dots; 2]) -> [Self::Ints; 2] {
        one_by_one::sums::<Self>(dots)
    }
}

/// Dot products of a pair's rows, each by itself: what those of a tier that multiplies both at once must equal.
mod one_by_one {
    use super::Simd;

    #[inline(always)]
    pub fn start<S: Simd>(offset: i32, sums_of_x: [i32; 2]) -> [S::Dots; 2] {
        [
            S::start(offset, sums_of_x[0]),
            S::start(offset, sums_of_x[1]),
        ]
    }

    #[inline(always)]
    pub fn dot<S: Simd>(
        offset: i32,
        mut dots: [S::Dots; 2],
        weights: [S::Bytes; 2],
        x: [[i8; 8]; 2],
    ) -> [S::Dots; 2] {
        for row in 0..2 {
            let (fours, _) = x[row].as_chunks::<4>();
            for vector in 0..2 {
                let sums = S::dot(offset, dots[row], weights[vector], fours[vector]);
                dots[row] = S::widen(sums);
            }
        }
        dots
    }

    #[inline(always)]
    pub fn sums<S: Simd>(dots: [S::Dots; 2]) -> [S::Ints; 2] {
        [S::sums(dots[0]), S::sums(dots[1])]
    }
}
