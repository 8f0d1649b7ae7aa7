//! AVX2 with FMA and F16C: a vector is two registers. With AVX-VNNI, dot products of bytes are one instruction.

#[allow(clippy::wildcard_imports, reason = "intrinsics")]
use std::arch::x86_64::*;

use super::{LANES, Simd};

/// AVX2, FMA and F16C; with `VNNI` AVX-VNNI too.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx<const VNNI: bool>;

type Two<T> = [T; 2];

/// The halves of sixteen elements.
#[inline(always)]
fn halves<T>(values: &[T; LANES]) -> (*const T, *const T) {
    let (low, high) = values.split_at(LANES / 2);
    (low.as_ptr(), high.as_ptr())
}

/// The halves of sixteen elements, to be written.
#[inline(always)]
fn halves_mut<T>(values: &mut [T; LANES]) -> (*mut T, *mut T) {
    let (low, high) = values.split_at_mut(LANES / 2);
    (low.as_mut_ptr(), high.as_mut_ptr())
}

// Not `array::map`, which is not always inlined into a kernel, and then lacks its instructions.
#[inline(always)]
fn each<A: Copy, R>(a: Two<A>, f: impl Fn(A) -> R) -> Two<R> {
    [f(a[0]), f(a[1])]
}

#[inline(always)]
fn both<A: Copy, B: Copy, R>(a: Two<A>, b: Two<B>, f: impl Fn(A, B) -> R) -> Two<R> {
    [f(a[0], b[0]), f(a[1], b[1])]
}

/// The sum of eight lanes, by halving.
#[inline(always)]
pub(super) fn sum_of_eight(vector: __m256) -> f32 {
    // SAFETY: see `Simd`.
    unsafe {
        let four = _mm_add_ps(
            _mm256_castps256_ps128(vector),
            _mm256_extractf128_ps::<1>(vector),
        );
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}

/// Sums of products of bytes. Without AVX-VNNI, an instruction multiplies bytes into 16 bits and another widens them:
/// small weights are summed in between.
#[derive(Clone, Copy)]
pub(in super::super) struct Dots {
    wide: Two<__m256i>,
    /// Two to a lane.
    narrow: Two<__m256i>,
}

impl Dots {
    #[inline(always)]
    fn start(first: i32) -> Self {
        // SAFETY: see `Simd`.
        unsafe {
            Self {
                wide: [_mm256_set1_epi32(first); 2],
                narrow: [_mm256_setzero_si256(); 2],
            }
        }
    }

    #[inline(always)]
    fn map_wide(self, other: Two<__m256i>, f: impl Fn(__m256i, __m256i) -> __m256i) -> Self {
        Self {
            wide: both(self.wide, other, f),
            ..self
        }
    }
}

/// Four activations in every lane.
#[inline(always)]
fn broadcast(x: [i8; 4]) -> __m256i {
    let x = i32::from_le_bytes(x.map(|x| x as u8));
    // SAFETY: see `Simd`.
    unsafe { _mm256_set1_epi32(x) }
}

// SAFETY of every block below: only `Tier::run` names this type, after checking for these instructions, and
// loads and stores go through references of the vector's size.
impl<const VNNI: bool> Simd for Avx<VNNI> {
    type Floats = Two<__m256>;
    type Ints = Two<__m256i>;
    type Bytes = Two<__m256i>;
    type Dots = Dots;
    const ROWS: usize = 4;
    const QUERIES: usize = 2;

    #[inline(always)]
    fn splat(value: f32) -> Two<__m256> {
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Two<__m256> {
        let (low, high) = halves(values);
        unsafe { [_mm256_loadu_ps(low), _mm256_loadu_ps(high)] }
    }
    #[inline(always)]
    fn store(vector: Two<__m256>, values: &mut [f32; LANES]) {
        let (low, high) = halves_mut(values);
        unsafe {
            _mm256_storeu_ps(low, vector[0]);
            _mm256_storeu_ps(high, vector[1]);
        }
    }
    #[inline(always)]
    fn load_f16(values: &[u16; LANES]) -> Two<__m256> {
        let (low, high) = halves(values);
        unsafe {
            each([low, high], |half| {
                _mm256_cvtph_ps(_mm_loadu_si128(half.cast()))
            })
        }
    }
    #[inline(always)]
    fn store_f16(vector: Two<__m256>, values: &mut [u16; LANES]) {
        let (low, high) = halves_mut(values);
        unsafe {
            let [first, second] = each(vector, |half| {
                _mm256_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(half)
            });
            _mm_storeu_si128(low.cast(), first);
            _mm_storeu_si128(high.cast(), second);
        }
    }
    #[inline(always)]
    fn load_i8(values: &[i8; LANES]) -> Two<__m256> {
        let (low, high) = halves(values);
        each([low, high], |half| unsafe {
            let bytes = _mm_loadl_epi64(half.cast());
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
        })
    }
    #[inline(always)]
    fn load_bf16(values: &[u16; LANES]) -> Two<__m256> {
        let (low, high) = halves(values);
        unsafe {
            each([low, high], |half| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(half.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            })
        }
    }

    #[inline(always)]
    fn add(a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        both(a, b, |a, b| unsafe { _mm256_add_ps(a, b) })
    }
    #[inline(always)]
    fn sub(a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        both(a, b, |a, b| unsafe { _mm256_sub_ps(a, b) })
    }
    #[inline(always)]
    fn mul(a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        both(a, b, |a, b| unsafe { _mm256_mul_ps(a, b) })
    }
    #[inline(always)]
    fn div(a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        both(a, b, |a, b| unsafe { _mm256_div_ps(a, b) })
    }
    #[inline(always)]
    fn fma(a: Two<__m256>, b: Two<__m256>, c: Two<__m256>) -> Two<__m256> {
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }
    #[inline(always)]
    fn max(a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        both(a, b, |a, b| unsafe { _mm256_max_ps(a, b) })
    }
    #[inline(always)]
    fn min(a: Two<__m256>, b: Two<__m256>) -> Two<__m256> {
        both(a, b, |a, b| unsafe { _mm256_min_ps(a, b) })
    }
    #[inline(always)]
    fn select_less(a: Two<__m256>, b: Two<__m256>, x: Two<__m256>, y: Two<__m256>) -> Two<__m256> {
        unsafe {
            let less = both(a, b, |a, b| _mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
            [
                _mm256_blendv_ps(y[0], x[0], less[0]),
                _mm256_blendv_ps(y[1], x[1], less[1]),
            ]
        }
    }
    #[inline(always)]
    fn select(mask: u16, x: Two<__m256>, y: Two<__m256>) -> Two<__m256> {
        unsafe {
            let bits = [
                _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128),
                _mm256_setr_epi32(256, 512, 1024, 2048, 4096, 8192, 16384, 32768),
            ];
            let mask = _mm256_set1_epi32(i32::from(mask));
            let set = each(bits, |bits| {
                _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(mask, bits), bits))
            });
            [
                _mm256_blendv_ps(y[0], x[0], set[0]),
                _mm256_blendv_ps(y[1], x[1], set[1]),
            ]
        }
    }

    #[inline(always)]
    fn round(a: Two<__m256>) -> Two<__m256i> {
        each(a, |a| unsafe { _mm256_cvtps_epi32(a) })
    }
    #[inline(always)]
    fn to_floats(a: Two<__m256i>) -> Two<__m256> {
        each(a, |a| unsafe { _mm256_cvtepi32_ps(a) })
    }
    #[inline(always)]
    fn scale_by_power(a: Two<__m256>, n: Two<__m256i>) -> Two<__m256> {
        both(a, n, |a, n| unsafe {
            let bits = _mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32::<23>(n));
            _mm256_castsi256_ps(bits)
        })
    }
    #[inline(always)]
    fn splat_int(value: i32) -> Two<__m256i> {
        unsafe { [_mm256_set1_epi32(value); 2] }
    }
    #[inline(always)]
    fn load_ints(values: &[i32; LANES]) -> Two<__m256i> {
        let (low, high) = halves(values);
        unsafe { each([low, high], |half| _mm256_loadu_si256(half.cast())) }
    }
    #[inline(always)]
    fn add_ints(a: Two<__m256i>, b: Two<__m256i>) -> Two<__m256i> {
        both(a, b, |a, b| unsafe { _mm256_add_epi32(a, b) })
    }
    #[inline(always)]
    fn store_ints(vector: Two<__m256i>, values: &mut [i32; LANES]) {
        let (low, high) = halves_mut(values);
        unsafe {
            _mm256_storeu_si256(low.cast(), vector[0]);
            _mm256_storeu_si256(high.cast(), vector[1]);
        }
    }

    #[inline(always)]
    fn sum(vector: Two<__m256>) -> f32 {
        sum_of_eight(unsafe { _mm256_add_ps(vector[0], vector[1]) })
    }
    #[inline(always)]
    fn prefetch<T>(address: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    fn load_bytes(bytes: &[u8; 4 * LANES]) -> Two<__m256i> {
        let (low, high) = bytes.split_at(2 * LANES);
        unsafe { each([low, high], |half| _mm256_loadu_si256(half.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_bytes(vector: Two<__m256i>, bytes: &mut [u8; 4 * LANES]) {
        let (low, high) = bytes.split_at_mut(2 * LANES);
        unsafe {
            _mm256_storeu_si256(low.as_mut_ptr().cast(), vector[0]);
            _mm256_storeu_si256(high.as_mut_ptr().cast(), vector[1]);
        }
    }
    #[inline(always)]
    fn nibbles(bytes: Two<__m256i>) -> (Two<__m256i>, Two<__m256i>) {
        unsafe {
            let low = _mm256_set1_epi8(15);
            (
                each(bytes, |half| _mm256_and_si256(half, low)),
                each(bytes, |half| {
                    _mm256_and_si256(_mm256_srli_epi16::<4>(half), low)
                }),
            )
        }
    }
    #[inline(always)]
    fn look_up(table: &[u8; 16], indices: Two<__m256i>) -> Two<__m256i> {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            each(indices, |half| _mm256_shuffle_epi8(table, half))
        }
    }
    #[inline(always)]
    fn fifth_bits(bits: [u8; 8]) -> Two<__m256i> {
        let [a, b, c, d, e, f, g, h] = bits;
        unsafe {
            // Every byte gets the eight bits that contain its own bit, then masks the others.
            let spread = _mm256_setr_epi64x(
                0,
                0x0101_0101_0101_0101,
                0x0202_0202_0202_0202,
                0x0303_0303_0303_0303,
            );
            let own = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            each([[a, b, c, d], [e, f, g, h]], |word| {
                let word = _mm256_set1_epi32(i32::from_le_bytes(word));
                let bytes = _mm256_and_si256(_mm256_shuffle_epi8(word, spread), own);
                _mm256_and_si256(_mm256_cmpeq_epi8(bytes, own), _mm256_set1_epi8(16))
            })
        }
    }
    #[inline(always)]
    fn upper_bits(packed: Two<__m256i>, index: usize) -> Two<__m256i> {
        each(packed, |half| unsafe {
            let shifted = match index {
                0 => _mm256_slli_epi16::<4>(half),
                1 => _mm256_slli_epi16::<2>(half),
                2 => half,
                _ => _mm256_srli_epi16::<2>(half),
            };
            _mm256_and_si256(shifted, _mm256_set1_epi8(48))
        })
    }
    #[inline(always)]
    fn or(a: Two<__m256i>, b: Two<__m256i>) -> Two<__m256i> {
        both(a, b, |a, b| unsafe { _mm256_or_si256(a, b) })
    }
    #[inline(always)]
    fn start_small(first: i32) -> Dots {
        Dots::start(first)
    }
    #[inline(always)]
    fn dot_small(dots: Dots, weights: Two<__m256i>, x: [i8; 4]) -> Dots {
        unsafe {
            let x = broadcast(x);
            if VNNI {
                return dots.map_wide(weights, |sums, weights| {
                    _mm256_dpbusd_avx_epi32(sums, weights, x)
                });
            }
            Dots {
                narrow: both(dots.narrow, weights, |sums, weights| {
                    _mm256_add_epi16(sums, _mm256_maddubs_epi16(weights, x))
                }),
                ..dots
            }
        }
    }
    #[inline(always)]
    fn widen(dots: Dots) -> Dots {
        if VNNI {
            return dots;
        }
        unsafe {
            Dots {
                narrow: [_mm256_setzero_si256(); 2],
                ..dots.map_wide(dots.narrow, |sums, narrow| {
                    _mm256_add_epi32(sums, _mm256_madd_epi16(narrow, _mm256_set1_epi16(1)))
                })
            }
        }
    }
    #[inline(always)]
    fn start_bytes(sum_of_x: i32) -> Dots {
        Dots::start(if VNNI { -128 * sum_of_x } else { 0 })
    }
    #[inline(always)]
    fn dot_bytes(dots: Dots, weights: Two<__m256i>, x: [i8; 4]) -> Dots {
        unsafe {
            let x = broadcast(x);
            dots.map_wide(weights, |sums, weights| {
                if VNNI {
                    return _mm256_dpbusd_avx_epi32(sums, weights, x);
                }
                // |w| * (x with the sign of w): two products of at most 128 * 127 fit 16 bits.
                let weights = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
                let products =
                    _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
                _mm256_add_epi32(sums, _mm256_madd_epi16(products, _mm256_set1_epi16(1)))
            })
        }
    }
    #[inline(always)]
    fn sums(dots: Dots) -> Two<__m256i> {
        dots.wide
    }
}
