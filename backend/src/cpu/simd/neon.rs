//! NEON with dot products: a vector is four registers. With I8MM, an instruction multiplies two rows of activations.
//!
//! Half precision and products of bytes are inline assembly: their intrinsics are not stable.

#[allow(clippy::wildcard_imports, reason = "intrinsics")]
use std::arch::aarch64::*;
use std::arch::asm;

use super::{LANES, Simd, one_by_one};

/// NEON, its half-precision conversions, and its dot products; with `I8MM` its products of matrices of bytes too.
#[derive(Clone, Copy)]
pub(in super::super) struct Neon<const I8MM: bool>;

type Four<T> = [T; 4];

/// Quarters of sixteen elements.
#[inline(always)]
fn quarters<T>(values: &[T; LANES]) -> Four<&[T; 4]> {
    let (quarters, _) = values.as_chunks::<4>();
    [&quarters[0], &quarters[1], &quarters[2], &quarters[3]]
}

/// Writes sixteen elements, four at a time.
#[inline(always)]
fn write_quarters<T, V: Copy>(vector: Four<V>, values: &mut [T; LANES], write: impl Fn(*mut T, V)) {
    let (quarters, _) = values.as_chunks_mut::<4>();
    for (quarter, vector) in quarters.iter_mut().zip(vector) {
        write(quarter.as_mut_ptr(), vector);
    }
}

#[inline(always)]
fn pairs<A: Copy, B: Copy, R>(a: Four<A>, b: Four<B>, f: impl Fn(A, B) -> R) -> Four<R> {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// Adds to each lane the dot product of its four signed bytes with those of `x`.
#[inline(always)]
fn dot(mut sums: int32x4_t, weights: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: see `Simd`; reads and writes nothing but these registers.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {weights:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds to each lane the dot product of its four unsigned bytes with the signed ones of `x`.
#[inline(always)]
fn dot_unsigned(mut sums: int32x4_t, weights: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: as in `dot`; of I8MM.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "usdot {sums:v}.4s, {weights:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds the products of two outputs' eight unsigned weights with two rows' eight activations: of the first output with
/// the first row and the second, then of the second output.
#[inline(always)]
fn multiply_matrices(mut sums: int32x4_t, weights: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: as above.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "usmmla {sums:v}.4s, {weights:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Four activations in every lane.
#[inline(always)]
fn broadcast(x: [i8; 4]) -> int8x16_t {
    let x = i32::from_le_bytes(x.map(|x| x as u8));
    // SAFETY: see `Simd`.
    unsafe { vreinterpretq_s8_s32(vdupq_n_s32(x)) }
}

// SAFETY of every block below: only `Tier::run` names this type, after checking for these instructions, and
// loads and stores go through references of the vector's size.
impl<const I8MM: bool> Simd for Neon<I8MM> {
    type Floats = Four<float32x4_t>;
    type Ints = Four<int32x4_t>;
    type Bytes = Four<uint8x16_t>;
    type Dots = Four<int32x4_t>;
    const PAIRS_ROWS: bool = I8MM;
    const ROWS: usize = if I8MM { 4 } else { 3 };
    const QUERIES: usize = 1;

    #[inline(always)]
    fn splat(value: f32) -> Self::Floats {
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self::Floats {
        quarters(values).map(|quarter| unsafe { vld1q_f32(quarter.as_ptr()) })
    }
    #[inline(always)]
    fn store(vector: Self::Floats, values: &mut [f32; LANES]) {
        write_quarters(vector, values, |to, quarter| unsafe {
            vst1q_f32(to, quarter)
        });
    }
    #[inline(always)]
    fn load_f16(values: &[u16; LANES]) -> Self::Floats {
        quarters(values).map(|quarter| unsafe {
            let halves = vld1_u16(quarter.as_ptr());
            let wide: float32x4_t;
            asm!(
                "fcvtl {wide:v}.4s, {halves:v}.4h",
                halves = in(vreg) halves,
                wide = lateout(vreg) wide,
                options(pure, nomem, nostack, preserves_flags),
            );
            wide
        })
    }
    #[inline(always)]
    fn store_f16(vector: Self::Floats, values: &mut [u16; LANES]) {
        write_quarters(vector, values, |to, quarter| unsafe {
            let halves: uint16x4_t;
            asm!(
                "fcvtn {halves:v}.4h, {quarter:v}.4s",
                quarter = in(vreg) quarter,
                halves = lateout(vreg) halves,
                options(pure, nomem, nostack, preserves_flags),
            );
            vst1_u16(to, halves);
        });
    }
    #[inline(always)]
    fn load_i8(values: &[i8; LANES]) -> Self::Floats {
        unsafe {
            let bytes = vld1q_s8(values.as_ptr());
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            ]
        }
    }
    #[inline(always)]
    fn load_bf16(values: &[u16; LANES]) -> Self::Floats {
        quarters(values).map(|quarter| unsafe {
            vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(quarter.as_ptr())))
        })
    }

    #[inline(always)]
    fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| unsafe { vaddq_f32(a, b) })
    }
    #[inline(always)]
    fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| unsafe { vsubq_f32(a, b) })
    }
    #[inline(always)]
    fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| unsafe { vmulq_f32(a, b) })
    }
    #[inline(always)]
    fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| unsafe { vdivq_f32(a, b) })
    }
    #[inline(always)]
    fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
    }
    #[inline(always)]
    fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) })
    }
    #[inline(always)]
    fn min(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        pairs(a, b, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }
    #[inline(always)]
    fn select_less(
        a: Self::Floats,
        b: Self::Floats,
        x: Self::Floats,
        y: Self::Floats,
    ) -> Self::Floats {
        std::array::from_fn(|i| unsafe { vbslq_f32(vcltq_f32(a[i], b[i]), x[i], y[i]) })
    }
    #[inline(always)]
    fn select(mask: u16, x: Self::Floats, y: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| unsafe {
            let bits: [u32; 4] = std::array::from_fn(|lane| 1 << (4 * i + lane));
            let set = vtstq_u32(vdupq_n_u32(u32::from(mask)), vld1q_u32(bits.as_ptr()));
            vbslq_f32(set, x[i], y[i])
        })
    }

    #[inline(always)]
    fn round(a: Self::Floats) -> Self::Ints {
        a.map(|a| unsafe { vcvtnq_s32_f32(a) })
    }
    #[inline(always)]
    fn to_floats(a: Self::Ints) -> Self::Floats {
        a.map(|a| unsafe { vcvtq_f32_s32(a) })
    }
    #[inline(always)]
    fn scale_by_power(a: Self::Floats, n: Self::Ints) -> Self::Floats {
        pairs(a, n, |a, n| unsafe {
            vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), vshlq_n_s32::<23>(n)))
        })
    }
    #[inline(always)]
    fn splat_int(value: i32) -> Self::Ints {
        unsafe { [vdupq_n_s32(value); 4] }
    }
    #[inline(always)]
    fn load_ints(values: &[i32; LANES]) -> Self::Ints {
        quarters(values).map(|quarter| unsafe { vld1q_s32(quarter.as_ptr()) })
    }
    #[inline(always)]
    fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        pairs(a, b, |a, b| unsafe { vaddq_s32(a, b) })
    }
    #[inline(always)]
    fn store_ints(vector: Self::Ints, values: &mut [i32; LANES]) {
        write_quarters(vector, values, |to, quarter| unsafe {
            vst1q_s32(to, quarter)
        });
    }

    #[inline(always)]
    fn load_bytes(bytes: &[u8; 4 * LANES]) -> Self::Bytes {
        let (quarters, _) = bytes.as_chunks::<LANES>();
        std::array::from_fn(|i| unsafe { vld1q_u8(quarters[i].as_ptr()) })
    }
    #[inline(always)]
    fn store_bytes(vector: Self::Bytes, bytes: &mut [u8; 4 * LANES]) {
        let (quarters, _) = bytes.as_chunks_mut::<LANES>();
        for (quarter, vector) in quarters.iter_mut().zip(vector) {
            unsafe { vst1q_u8(quarter.as_mut_ptr(), vector) };
        }
    }
    #[inline(always)]
    fn nibbles(bytes: Self::Bytes) -> (Self::Bytes, Self::Bytes) {
        unsafe {
            let low = vdupq_n_u8(15);
            (
                bytes.map(|quarter| vandq_u8(quarter, low)),
                bytes.map(|quarter| vshrq_n_u8::<4>(quarter)),
            )
        }
    }
    #[inline(always)]
    fn look_up(table: &[u8; 16], indices: Self::Bytes) -> Self::Bytes {
        unsafe {
            let table = vld1q_u8(table.as_ptr());
            indices.map(|quarter| vqtbl1q_u8(table, quarter))
        }
    }
    #[inline(always)]
    fn fifth_bits(bits: [u8; 8]) -> Self::Bytes {
        const OWN: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        std::array::from_fn(|i| unsafe {
            let spread = vcombine_u8(vdup_n_u8(bits[2 * i]), vdup_n_u8(bits[2 * i + 1]));
            vandq_u8(vtstq_u8(spread, vld1q_u8(OWN.as_ptr())), vdupq_n_u8(16))
        })
    }
    #[inline(always)]
    fn upper_bits(packed: Self::Bytes, index: usize) -> Self::Bytes {
        packed.map(|quarter| unsafe {
            let shifted = match index {
                0 => vshlq_n_u8::<4>(quarter),
                1 => vshlq_n_u8::<2>(quarter),
                2 => quarter,
                _ => vshrq_n_u8::<2>(quarter),
            };
            vandq_u8(shifted, vdupq_n_u8(48))
        })
    }
    #[inline(always)]
    fn or(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        pairs(a, b, |a, b| unsafe { vorrq_u8(a, b) })
    }
    #[inline(always)]
    fn start_small(first: i32) -> Self::Ints {
        Self::splat_int(first)
    }
    #[inline(always)]
    fn dot_small(sums: Self::Ints, weights: Self::Bytes, x: [i8; 4]) -> Self::Ints {
        // Below 64, signed and unsigned are the same.
        let x = broadcast(x);
        pairs(sums, weights, |sums, weights| dot(sums, weights, x))
    }
    #[inline(always)]
    fn widen(sums: Self::Ints) -> Self::Ints {
        sums
    }
    #[inline(always)]
    fn start_bytes(sum_of_x: i32) -> Self::Ints {
        Self::splat_int(if I8MM { -128 * sum_of_x } else { 0 })
    }
    #[inline(always)]
    fn dot_bytes(sums: Self::Ints, weights: Self::Bytes, x: [i8; 4]) -> Self::Ints {
        let x = broadcast(x);
        pairs(sums, weights, |sums, weights| {
            if I8MM {
                return dot_unsigned(sums, weights, x);
            }
            // Subtracting 128 flips the upper bit.
            let signed = unsafe { veorq_u8(weights, vdupq_n_u8(128)) };
            dot(sums, signed, x)
        })
    }
    #[inline(always)]
    fn sums(sums: Self::Ints) -> Self::Ints {
        sums
    }

    // The registers of a pair hold two outputs each, in the order of `multiply_matrices`.
    #[inline(always)]
    fn start_pair(offset: i32, sums_of_x: [i32; 2]) -> [Self::Dots; 2] {
        if !I8MM {
            return one_by_one::start::<Self>(offset, sums_of_x);
        }
        let (first, second) = (-offset * sums_of_x[0], -offset * sums_of_x[1]);
        unsafe {
            let both = vzip1q_s32(vdupq_n_s32(first), vdupq_n_s32(second));
            [[both; 4]; 2]
        }
    }
    #[inline(always)]
    fn dot_pair(
        offset: i32,
        mut dots: [Self::Dots; 2],
        weights: [Self::Bytes; 2],
        x: [[i8; 8]; 2],
    ) -> [Self::Dots; 2] {
        if !I8MM {
            return one_by_one::dot::<Self>(offset, dots, weights, x);
        }
        unsafe {
            let x = vcombine_s8(vld1_s8(x[0].as_ptr()), vld1_s8(x[1].as_ptr()));
            for quarter in 0..4 {
                let first = vreinterpretq_u32_u8(weights[0][quarter]);
                let second = vreinterpretq_u32_u8(weights[1][quarter]);
                let outputs = [vzip1q_u32(first, second), vzip2q_u32(first, second)];
                for half in 0..2 {
                    let sums = &mut dots[quarter / 2][2 * (quarter % 2) + half];
                    *sums = multiply_matrices(*sums, vreinterpretq_u8_u32(outputs[half]), x);
                }
            }
        }
        dots
    }
    #[inline(always)]
    fn sums_of_pair(dots: [Self::Dots; 2]) -> [Self::Ints; 2] {
        if !I8MM {
            return one_by_one::sums::<Self>(dots);
        }
        let mut sums = [Self::splat_int(0); 2];
        for quarter in 0..4 {
            let registers = dots[quarter / 2];
            let first = registers[2 * (quarter % 2)];
            let second = registers[2 * (quarter % 2) + 1];
            unsafe {
                sums[0][quarter] = vuzp1q_s32(first, second);
                sums[1][quarter] = vuzp2q_s32(first, second);
            }
        }
        sums
    }
}
