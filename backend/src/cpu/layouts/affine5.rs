//! 5-bit weights: `scale * quant + min`.

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
pub(in super::super) struct Affine5 {
    quants: [[u8; 4 * LANES]; 4],
    /// One bit per weight: eight bytes for each of the block's vectors of 64.
    fifth_bits: [[u8; 8]; 8],
    scales: [u16; LANES],
    mins: [u16; LANES],
}

impl Layout for Affine5 {
    fn weight(&self, lane: usize, input: usize) -> f32 {
        let byte = 4 * lane + input % 4;
        let fifth = self.fifth_bits[input / 4][byte / 8] >> (byte % 8) & 1;
        let quant = nibble(&self.quants, lane, input) | fifth << 4;
        from_half(self.scales[lane]) * f32::from(quant) + from_half(self.mins[lane])
    }
}

impl QuantizedLayout for Affine5 {
    const SUB_BLOCKS: usize = 1;
    const OFFSET: i32 = 0;
    const LARGEST: u8 = 31;

    fn insert(&mut self, lane: usize, block: &QuantBlock) {
        let quants = words(&block.quants);
        insert_nibbles(&mut self.quants, lane, &quants);
        for (vector, quants) in self.fifth_bits.iter_mut().zip(quants) {
            // Multiplying moves the fifth bit of each of the four bytes to the word's last.
            let bits = (quants >> 4 & 0x0101_0101).wrapping_mul(0x0102_0408) >> 24;
            vector[lane / 2] |= (bits as u8 & 15) << (4 * (lane % 2));
        }
        self.scales[lane] = to_half(block.scales[0]);
        self.mins[lane] = to_half(block.mins[0]);
    }

    #[inline(always)]
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes) {
        let (low, high) = S::nibbles(S::load_bytes(&self.quants[index]));
        (
            S::or(low, S::fifth_bits(self.fifth_bits[index])),
            S::or(high, S::fifth_bits(self.fifth_bits[index + 4])),
        )
    }

    #[inline(always)]
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats) {
        add_affine::<S>(sums, products[0], &self.scales, &self.mins, x);
    }
}
