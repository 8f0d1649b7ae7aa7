//! 4-bit weights: `scale * quant + min`.

use bytemuck::{Pod, Zeroable};

use super::{
    Layout, QuantizedLayout, add_affine, from_half, insert_nibbles, nibble, to_half, words,
};
use crate::cpu::rows::QuantizedX;
use crate::cpu::simd::{LANES, Simd};
use crate::formats::QuantBlock;

/// 32 inputs of sixteen outputs.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(in super::super) struct Affine4 {
    quants: [[u8; 4 * LANES]; 4],
    scales: [u16; LANES],
    mins: [u16; LANES],
}

impl Layout for Affine4 {
    fn weight(&self, lane: usize, input: usize) -> f32 {
        let quant = nibble(&self.quants, lane, input);
        from_half(self.scales[lane]) * f32::from(quant) + from_half(self.mins[lane])
    }
}

impl QuantizedLayout for Affine4 {
    const SUB_BLOCKS: usize = 1;
    const OFFSET: i32 = 0;
    const LARGEST: u8 = 15;

    fn insert(&mut self, lane: usize, block: &QuantBlock) {
        insert_nibbles(&mut self.quants, lane, &words(&block.quants));
        self.scales[lane] = to_half(block.scales[0]);
        self.mins[lane] = to_half(block.mins[0]);
    }

    #[inline(always)]
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes) {
        S::nibbles(S::load_bytes(&self.quants[index]))
    }

    #[inline(always)]
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats) {
        add_affine::<S>(sums, products[0], &self.scales, &self.mins, x);
    }
}
