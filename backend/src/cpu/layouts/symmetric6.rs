//! 6-bit weights: `scale * (quant - 32)`, with a scale for each half of the block.

use bytemuck::{Pod, Zeroable};

use super::{
    Layout, QuantizedLayout, from_half, insert_nibbles, insert_pairs, nibble, scaled_halves,
    to_half, words,
};
use crate::cpu::rows::QuantizedX;
use crate::cpu::simd::{LANES, Simd};
use crate::formats::QuantBlock;

/// 32 inputs of sixteen outputs.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(in super::super) struct Symmetric6 {
    quants: [[u8; 4 * LANES]; 4],
    /// A byte of `upper_bits[half]` holds the upper two bits of the half's four vectors, the first's lowest.
    upper_bits: [[u8; 4 * LANES]; 2],
    scales: [[u16; LANES]; 2],
}

impl Layout for Symmetric6 {
    fn weight(&self, lane: usize, input: usize) -> f32 {
        let upper = self.upper_bits[input / 16][4 * lane + input % 4] >> (2 * (input % 16 / 4)) & 3;
        let quant = nibble(&self.quants, lane, input) | upper << 4;
        from_half(self.scales[input / 16][lane]) * (f32::from(quant) - 32.0)
    }
}

impl QuantizedLayout for Symmetric6 {
    const SUB_BLOCKS: usize = 2;
    const OFFSET: i32 = 32;
    const LARGEST: u8 = 63;

    fn insert(&mut self, lane: usize, block: &QuantBlock) {
        let quants = words(&block.quants);
        insert_nibbles(&mut self.quants, lane, &quants);
        let upper = quants.map(|quants| quants >> 4 & 0x0303_0303);
        insert_pairs(&mut self.upper_bits, lane, &upper);
        for (scales, scale) in self.scales.iter_mut().zip(block.scales) {
            scales[lane] = to_half(scale);
        }
    }

    #[inline(always)]
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes) {
        let (low, high) = S::nibbles(S::load_bytes(&self.quants[index]));
        let (first, second) = (
            S::load_bytes(&self.upper_bits[0]),
            S::load_bytes(&self.upper_bits[1]),
        );
        (
            S::or(low, S::upper_bits(first, index)),
            S::or(high, S::upper_bits(second, index)),
        )
    }

    #[inline(always)]
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats) {
        let both = scaled_halves::<S>(products, &self.scales[0], &self.scales[1]);
        *sums = S::fma(both, S::splat(x.scale), *sums);
    }
}
