//! The portable tier: plain arrays. It defines what the other tiers compute.

use half::{bf16, f16};

use super::{LANES, Simd};

/// No specific instructions.
#[derive(Clone, Copy)]
pub(in super::super) struct Scalar;

#[inline(always)]
fn each<T: Copy, R>(a: [T; LANES], f: impl Fn(T) -> R) -> [R; LANES] {
    a.map(f)
}

#[inline(always)]
fn pairs<A: Copy, B: Copy, R>(a: [A; LANES], b: [B; LANES], f: impl Fn(A, B) -> R) -> [R; LANES] {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

/// Adds to each lane the dot product of four weights, converted by `weight`, with `x`.
#[inline(always)]
fn dot(
    sums: [i32; LANES],
    weights: [u8; 4 * LANES],
    x: [i8; 4],
    weight: impl Fn(u8) -> i32,
) -> [i32; LANES] {
    std::array::from_fn(|lane| {
        let products = (0..4).map(|i| weight(weights[4 * lane + i]) * i32::from(x[i]));
        sums[lane] + products.sum::<i32>()
    })
}

impl Simd for Scalar {
    type Floats = [f32; LANES];
    type Ints = [i32; LANES];
    type Bytes = [u8; 4 * LANES];
    type Dots = [i32; LANES];
    const ROWS: usize = 4;
    const QUERIES: usize = 2;

    #[inline(always)]
    fn splat(value: f32) -> Self::Floats {
        [value; LANES]
    }
    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self::Floats {
        *values
    }
    #[inline(always)]
    fn store(vector: Self::Floats, values: &mut [f32; LANES]) {
        *values = vector;
    }
    #[inline(always)]
    fn load_f16(values: &[u16; LANES]) -> Self::Floats {
        each(*values, |bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    fn store_f16(vector: Self::Floats, values: &mut [u16; LANES]) {
        *values = each(vector, |value| f16::from_f32(value).to_bits());
    }
    #[inline(always)]
    fn load_i8(values: &[i8; LANES]) -> Self::Floats {
        each(*values, f32::from)
    }
    #[inline(always)]
    fn load_bf16(values: &[u16; LANES]) -> Self::Floats {
        each(*values, |bits| bf16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
    }
    #[inline(always)]
    fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn select_less(
        a: Self::Floats,
        b: Self::Floats,
        x: Self::Floats,
        y: Self::Floats,
    ) -> Self::Floats {
        std::array::from_fn(|lane| if a[lane] < b[lane] { x[lane] } else { y[lane] })
    }
    #[inline(always)]
    fn select(mask: u16, x: Self::Floats, y: Self::Floats) -> Self::Floats {
        std::array::from_fn(|lane| {
            if mask >> lane & 1 == 1 {
                x[lane]
            } else {
                y[lane]
            }
        })
    }

    #[inline(always)]
    fn round(a: Self::Floats) -> Self::Ints {
        each(a, |a| a.round_ties_even() as i32)
    }
    #[inline(always)]
    fn to_floats(a: Self::Ints) -> Self::Floats {
        each(a, |a| a as f32)
    }
    #[inline(always)]
    fn scale_by_power(a: Self::Floats, n: Self::Ints) -> Self::Floats {
        pairs(a, n, |a, n| {
            f32::from_bits(a.to_bits().wrapping_add((n as u32) << 23))
        })
    }
    #[inline(always)]
    fn splat_int(value: i32) -> Self::Ints {
        [value; LANES]
    }
    #[inline(always)]
    fn load_ints(values: &[i32; LANES]) -> Self::Ints {
        *values
    }
    #[inline(always)]
    fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        pairs(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn store_ints(vector: Self::Ints, values: &mut [i32; LANES]) {
        *values = vector;
    }

    #[inline(always)]
    fn load_bytes(bytes: &[u8; 4 * LANES]) -> Self::Bytes {
        *bytes
    }
    #[inline(always)]
    fn store_bytes(vector: Self::Bytes, bytes: &mut [u8; 4 * LANES]) {
        *bytes = vector;
    }
    #[inline(always)]
    fn nibbles(bytes: Self::Bytes) -> (Self::Bytes, Self::Bytes) {
        (bytes.map(|byte| byte & 15), bytes.map(|byte| byte >> 4))
    }
    #[inline(always)]
    fn look_up(table: &[u8; 16], indices: Self::Bytes) -> Self::Bytes {
        indices.map(|index| table[usize::from(index & 15)])
    }
    #[inline(always)]
    fn fifth_bits(bits: [u8; 8]) -> Self::Bytes {
        std::array::from_fn(|byte| (bits[byte / 8] >> (byte % 8) & 1) << 4)
    }
    #[inline(always)]
    fn upper_bits(packed: Self::Bytes, index: usize) -> Self::Bytes {
        packed.map(|byte| (byte >> (2 * index) & 3) << 4)
    }
    #[inline(always)]
    fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        std::array::from_fn(|byte| a[byte] | b[byte])
    }
    #[inline(always)]
    fn start_small(first: i32) -> Self::Ints {
        [first; LANES]
    }
    #[inline(always)]
    fn dot_small(sums: Self::Ints, weights: Self::Bytes, x: [i8; 4]) -> Self::Ints {
        dot(sums, weights, x, i32::from)
    }
    #[inline(always)]
    fn widen(sums: Self::Ints) -> Self::Ints {
        sums
    }
    #[inline(always)]
    fn start_bytes(_: i32) -> Self::Ints {
        [0; LANES]
    }
    #[inline(always)]
    fn dot_bytes(sums: Self::Ints, weights: Self::Bytes, x: [i8; 4]) -> Self::Ints {
        dot(sums, weights, x, |weight| i32::from(weight) - 128)
    }
    #[inline(always)]
    fn sums(sums: Self::Ints) -> Self::Ints {
        sums
    }
}
