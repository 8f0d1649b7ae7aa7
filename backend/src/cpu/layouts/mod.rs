//! The memory layouts of weight blocks: one file per layout, with the arithmetic of its products.
//!
//! A block holds 32 inputs of sixteen outputs, each of which has a lane of its own, so that sums need no steps across
//! lanes and scales load as one vector. A vector of bytes holds four neighbouring inputs of each of the sixteen outputs.
//! Vectors come in the order of the inputs; where a byte holds two weights, its lower half is of the first 16 inputs and
//! its upper half of the last 16.
//!
//! A layout of integers has the name of the [`Quantization`](crate::formats::Quantization) that it stores;
//! several storage formats share it.

mod affine2;
mod affine4;
mod affine5;
mod float;
mod symmetric6;
mod symmetric8;
mod table4;

use bytemuck::Pod;
use half::f16;

use super::rows::QuantizedX;
pub(super) use super::simd::BYTE_OFFSET;
use super::simd::{LANES, Simd};
pub(super) use crate::formats::BLOCK;
use crate::formats::QuantBlock;
pub(super) use affine2::Affine2Halves;
pub(super) use affine4::Affine4;
pub(super) use affine5::Affine5;
pub(super) use float::{Bf16Block, F16Block, F32Block, FloatBlock};
pub(super) use symmetric6::Symmetric6;
pub(super) use symmetric8::{Symmetric8, round_to_8_bits};
pub(super) use table4::{E2m1, E2m1Halves, Iq1Halves, Iq2Halves, Iq3S, Iq3Xxs, NonLinear4};

/// A block of weights of one tile.
pub(super) trait Layout: Pod + Send + Sync {
    /// A weight, widened.
    fn weight(&self, lane: usize, input: usize) -> f32;
}

/// A block of quantized weights.
pub(super) trait QuantizedLayout: Layout {
    /// The number of sub-blocks, each with its own scale: 1, or 2 halves.
    const SUB_BLOCKS: usize;
    /// The offset that is added to stored quants. With [`BYTE_OFFSET`] they may be any bytes.
    const OFFSET: i32;
    /// The largest stored quant: below 64, but with [`BYTE_OFFSET`].
    const LARGEST: u8;

    /// Writes the block of one output.
    fn insert(&mut self, lane: usize, block: &QuantBlock);

    /// The quants of four inputs as a vector of bytes, from input `4 * index` on, and those half a block later.
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes);

    /// Converts the sub-blocks' sums of products of integers to floats and adds them to `sums`.
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats);
}

/// The quants of a block, four to a word: as a lane of a vector holds them.
fn words(quants: &[u8; BLOCK]) -> [u32; BLOCK / 4] {
    let (words, _) = quants.as_chunks::<4>();
    std::array::from_fn(|index| u32::from_le_bytes(words[index]))
}

/// Writes four bytes of one lane of a vector.
fn insert_word(vector: &mut [u8; 4 * LANES], lane: usize, word: u32) {
    vector.as_chunks_mut::<4>().0[lane] = word.to_le_bytes();
}

/// Writes the lower four bits of a block's quants, two in a byte.
fn insert_nibbles(vectors: &mut [[u8; 4 * LANES]; 4], lane: usize, quants: &[u32; BLOCK / 4]) {
    const LOWER: u32 = 0x0f0f_0f0f;
    for (index, vector) in vectors.iter_mut().enumerate() {
        let (low, high) = (quants[index] & LOWER, quants[index + 4] & LOWER);
        insert_word(vector, lane, low | high << 4);
    }
}

/// Writes two bits of each of a block's quants, four in a byte: a half's vectors share one, the first has its lowest bits.
fn insert_pairs(vectors: &mut [[u8; 4 * LANES]; 2], lane: usize, pairs: &[u32; BLOCK / 4]) {
    for (vector, pairs) in vectors.iter_mut().zip(pairs.as_chunks::<4>().0) {
        let [first, second, third, fourth] = *pairs;
        let word = first | second << 2 | third << 4 | fourth << 6;
        insert_word(vector, lane, word);
    }
}

fn nibble(vectors: &[[u8; 4 * LANES]; 4], lane: usize, input: usize) -> u8 {
    let byte = vectors[input % 16 / 4][4 * lane + input % 4];
    if input < 16 { byte & 15 } else { byte >> 4 }
}

fn to_half(value: f32) -> u16 {
    f16::from_f32(value).to_bits()
}

fn from_half(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// The sum of the products of a block's halves, each with its own scales.
#[inline(always)]
fn scaled_halves<S: Simd>(
    products: [S::Ints; 2],
    first: &[u16; LANES],
    second: &[u16; LANES],
) -> S::Floats {
    let sum = S::mul(S::to_floats(products[0]), S::load_f16(first));
    S::fma(S::to_floats(products[1]), S::load_f16(second), sum)
}

/// `sums += integers * scales * x's scale + mins * x's sum`
#[inline(always)]
fn add_affine<S: Simd>(
    sums: &mut S::Floats,
    integers: S::Ints,
    scales: &[u16; LANES],
    mins: &[u16; LANES],
    x: &QuantizedX,
) {
    let scaled = S::mul(S::to_floats(integers), S::load_f16(scales));
    *sums = S::fma(scaled, S::splat(x.scale), *sums);
    *sums = S::fma(S::load_f16(mins), S::splat(x.sum), *sums);
}
