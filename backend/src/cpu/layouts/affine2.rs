//! 2-bit weights: `scale * quant + min`, with a scale and a minimum for each half of the block.

use bytemuck::{Pod, Zeroable};

use super::{Layout, QuantizedLayout, from_half, insert_pairs, scaled_halves, to_half, words};
use crate::cpu::rows::QuantizedX;
use crate::cpu::simd::{LANES, Simd};
use crate::formats::QuantBlock;

/// The factor of quants as they are multiplied: their bits are the fifth and sixth of a byte.
const FACTOR: f32 = 16.0;

/// 32 inputs of sixteen outputs.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(in super::super) struct Affine2Halves {
    /// A byte holds the bits of a half's four vectors, the first's lowest.
    quants: [[u8; 4 * LANES]; 2],
    scales: [[u16; LANES]; 2],
    mins: [[u16; LANES]; 2],
}

impl Layout for Affine2Halves {
    fn weight(&self, lane: usize, input: usize) -> f32 {
        let (half, input) = (input / 16, input % 16);
        let quant = self.quants[half][4 * lane + input % 4] >> (2 * (input / 4)) & 3;
        from_half(self.scales[half][lane]) * f32::from(quant) + from_half(self.mins[half][lane])
    }
}

impl QuantizedLayout for Affine2Halves {
    const SUB_BLOCKS: usize = 2;
    const OFFSET: i32 = 0;
    const LARGEST: u8 = 48;

    fn insert(&mut self, lane: usize, block: &QuantBlock) {
        insert_pairs(&mut self.quants, lane, &words(&block.quants));
        for half in 0..2 {
            self.scales[half][lane] = to_half(block.scales[half]);
            self.mins[half][lane] = to_half(block.mins[half]);
        }
    }

    #[inline(always)]
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes) {
        let [first, second] = &self.quants;
        (
            S::upper_bits(S::load_bytes(first), index),
            S::upper_bits(S::load_bytes(second), index),
        )
    }

    #[inline(always)]
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats) {
        let scaled = scaled_halves::<S>(products, &self.scales[0], &self.scales[1]);
        *sums = S::fma(scaled, S::splat(x.scale / FACTOR), *sums);
        for half in 0..2 {
            let sum = x.scale * x.half_sums[half] as f32;
            *sums = S::fma(S::load_f16(&self.mins[half]), S::splat(sum), *sums);
        }
    }
}
