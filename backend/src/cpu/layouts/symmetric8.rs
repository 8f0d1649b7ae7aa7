//! 8-bit weights: `scale * (quant - 128)`.

use bytemuck::{Pod, Zeroable};

use super::{BLOCK, BYTE_OFFSET, Layout, QuantizedLayout, from_half, insert_word, to_half, words};
use crate::cpu::rows::QuantizedX;
use crate::cpu::simd::{LANES, Simd};
use crate::formats::QuantBlock;

/// 32 inputs of sixteen outputs.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(32))]
pub(in super::super) struct Symmetric8 {
    quants: [[u8; 4 * LANES]; 8],
    scales: [u16; LANES],
}

/// Rounds the `index`-th block of a row of `f32` to 8 bits: for formats without a layout of their own.
pub(in super::super) fn round_to_8_bits(row: &[u8], index: usize) -> QuantBlock {
    let (values, _) = row.as_chunks::<4>();
    let values = &values[index * BLOCK..][..BLOCK];
    let values: [f32; BLOCK] = std::array::from_fn(|i| f32::from_le_bytes(values[i]));
    let largest = values.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    QuantBlock {
        quants: values.map(|x| ((x * inverse).round_ties_even() as i8 as u8) ^ 128),
        scales: [largest / 127.0; 2],
        mins: [0.0; 2],
    }
}

impl Layout for Symmetric8 {
    fn weight(&self, lane: usize, input: usize) -> f32 {
        let quant = self.quants[input / 4][4 * lane + input % 4];
        from_half(self.scales[lane]) * (f32::from(quant) - 128.0)
    }
}

impl QuantizedLayout for Symmetric8 {
    const SUB_BLOCKS: usize = 1;
    const OFFSET: i32 = BYTE_OFFSET;
    const LARGEST: u8 = u8::MAX;

    fn insert(&mut self, lane: usize, block: &QuantBlock) {
        for (vector, quants) in self.quants.iter_mut().zip(words(&block.quants)) {
            insert_word(vector, lane, quants);
        }
        self.scales[lane] = to_half(block.scales[0]);
    }

    #[inline(always)]
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes) {
        (
            S::load_bytes(&self.quants[index]),
            S::load_bytes(&self.quants[index + 4]),
        )
    }

    #[inline(always)]
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats) {
        let scaled = S::mul(S::to_floats(products[0]), S::load_f16(&self.scales));
        *sums = S::fma(scaled, S::splat(x.scale), *sums);
    }
}
