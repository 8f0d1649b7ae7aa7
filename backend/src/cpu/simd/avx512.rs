//! AVX-512 with VNNI: a vector is one register.

#[allow(clippy::wildcard_imports, reason = "intrinsics")]
use std::arch::x86_64::*;

use super::{LANES, Simd};

/// AVX-512 F, BW, VL and VNNI.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512;

/// Four activations in every lane.
#[inline(always)]
fn broadcast(x: [i8; 4]) -> __m512i {
    let x = x.map(|x| x as u8);
    // SAFETY: see `Simd`.
    unsafe { _mm512_set1_epi32(i32::from_le_bytes(x)) }
}

// SAFETY of every block below: only `Tier::run` names this type, after checking for these instructions, and
// loads and stores go through references of the vector's size.
impl Simd for Avx512 {
    type Floats = __m512;
    type Ints = __m512i;
    type Bytes = __m512i;
    type Dots = __m512i;

    const ROWS: usize = 8;
    const QUERIES: usize = 6;

    #[inline(always)]
    fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn load(values: &[f32; LANES]) -> __m512 {
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }
    #[inline(always)]
    fn store(vector: __m512, values: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), vector) }
    }
    #[inline(always)]
    fn load_f16(values: &[u16; LANES]) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(values.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_f16(vector: __m512, values: &mut [u16; LANES]) {
        unsafe {
            let halves =
                _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(vector);
            _mm256_storeu_si256(values.as_mut_ptr().cast(), halves);
        }
    }
    #[inline(always)]
    fn load_i8(values: &[i8; LANES]) -> __m512 {
        unsafe {
            let bytes = _mm_loadu_si128(values.as_ptr().cast());
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
        }
    }
    #[inline(always)]
    fn load_bf16(values: &[u16; LANES]) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(values.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn select_less(a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x) }
    }
    #[inline(always)]
    fn select(mask: u16, x: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(mask, y, x) }
    }

    #[inline(always)]
    fn round(a: __m512) -> __m512i {
        unsafe { _mm512_cvtps_epi32(a) }
    }
    #[inline(always)]
    fn to_floats(a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn scale_by_power(a: __m512, n: __m512i) -> __m512 {
        unsafe {
            let bits = _mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32::<23>(n));
            _mm512_castsi512_ps(bits)
        }
    }
    #[inline(always)]
    fn splat_int(value: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(value) }
    }
    #[inline(always)]
    fn load_ints(values: &[i32; LANES]) -> __m512i {
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
    }
    #[inline(always)]
    fn add_ints(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn store_ints(vector: __m512i, values: &mut [i32; LANES]) {
        unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), vector) }
    }

    #[inline(always)]
    fn store_i8(vector: __m512i, values: &mut [i8; LANES]) {
        unsafe { _mm_storeu_si128(values.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(vector)) }
    }
    #[inline(always)]
    fn sum_ints(vector: __m512i) -> i32 {
        unsafe { _mm512_reduce_add_epi32(vector) }
    }
    #[inline(always)]
    fn sum(vector: __m512) -> f32 {
        unsafe {
            let upper =
                _mm256_castsi256_ps(_mm512_extracti64x4_epi64::<1>(_mm512_castps_si512(vector)));
            super::avx2::sum_of_eight(_mm256_add_ps(_mm512_castps512_ps256(vector), upper))
        }
    }
    #[inline(always)]
    fn largest(vector: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(vector) }
    }
    #[inline(always)]
    fn prefetch<T>(address: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    fn load_bytes(bytes: &[u8; 4 * LANES]) -> __m512i {
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store_bytes(vector: __m512i, bytes: &mut [u8; 4 * LANES]) {
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
    }
    #[inline(always)]
    fn nibbles(bytes: __m512i) -> (__m512i, __m512i) {
        unsafe {
            let low = _mm512_set1_epi8(15);
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low);
            (_mm512_and_si512(bytes, low), high)
        }
    }
    #[inline(always)]
    fn look_up(table: &[u8; 16], indices: __m512i) -> __m512i {
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, indices)
        }
    }
    #[inline(always)]
    fn fifth_bits(bits: [u8; 8]) -> __m512i {
        unsafe { _mm512_maskz_set1_epi8(u64::from_le_bytes(bits), 16) }
    }
    #[inline(always)]
    fn upper_bits(packed: __m512i, index: usize) -> __m512i {
        unsafe {
            let shifted = match index {
                0 => _mm512_slli_epi16::<4>(packed),
                1 => _mm512_slli_epi16::<2>(packed),
                2 => packed,
                _ => _mm512_srli_epi16::<2>(packed),
            };
            _mm512_and_si512(shifted, _mm512_set1_epi8(48))
        }
    }
    #[inline(always)]
    fn or(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn start_small(first: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(first) }
    }
    #[inline(always)]
    fn dot_small(sums: __m512i, weights: __m512i, x: [i8; 4]) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sums, weights, broadcast(x)) }
    }
    #[inline(always)]
    fn widen(sums: __m512i) -> __m512i {
        sums
    }
    #[inline(always)]
    fn start_bytes(sum_of_x: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(-128 * sum_of_x) }
    }
    #[inline(always)]
    fn dot_bytes(sums: __m512i, weights: __m512i, x: [i8; 4]) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sums, weights, broadcast(x)) }
    }
    #[inline(always)]
    fn sums(sums: __m512i) -> __m512i {
        sums
    }
}
