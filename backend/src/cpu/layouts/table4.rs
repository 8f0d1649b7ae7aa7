//! 4-bit weights that are indices of sixteen levels, which are not evenly spaced: `scale * level`.

use bytemuck::{Pod, Zeroable};

use super::{
    BYTE_OFFSET, Layout, QuantizedLayout, from_half, insert_nibbles, nibble, scaled_halves,
    to_half, words,
};
use crate::cpu::rows::QuantizedX;
use crate::cpu::simd::{LANES, Simd};
use crate::formats::{
    E2M1_LEVELS, IQ1_LEVELS, IQ2_LEVELS, IQ3_S_LEVELS, IQ3_XXS_LEVELS, NON_LINEAR_LEVELS,
    QuantBlock,
};

/// Levels as they are multiplied: with an offset, unsigned.
const fn with_offset(levels: &[i8; 16], offset: i32) -> [u8; 16] {
    let mut table = [0; 16];
    let mut index = 0;
    while index < table.len() {
        table[index] = (levels[index] as i32 + offset) as u8;
        index += 1;
    }
    table
}

const fn largest(table: &[u8; 16]) -> u8 {
    let mut largest = 0;
    let mut index = 0;
    while index < table.len() {
        if table[index] > largest {
            largest = table[index];
        }
        index += 1;
    }
    largest
}

macro_rules! table_layout {
    ($(#[$doc:meta])* $name:ident: $sub_blocks:literal of $levels:ident, offset $offset:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Pod, Zeroable)]
        #[repr(C, align(32))]
        pub(in super::super) struct $name {
            quants: [[u8; 4 * LANES]; 4],
            scales: [[u16; LANES]; $sub_blocks],
        }

        impl $name {
            const TABLE: [u8; 16] = with_offset(&$levels, Self::OFFSET);
        }

        impl Layout for $name {
            fn weight(&self, lane: usize, input: usize) -> f32 {
                let level = $levels[usize::from(nibble(&self.quants, lane, input))];
                let scale = self.scales[$sub_blocks * input / 32][lane];
                from_half(scale) * f32::from(level)
            }
        }

        impl QuantizedLayout for $name {
            const SUB_BLOCKS: usize = $sub_blocks;
            const OFFSET: i32 = $offset;
            const LARGEST: u8 = largest(&Self::TABLE);

            fn insert(&mut self, lane: usize, block: &QuantBlock) {
                insert_nibbles(&mut self.quants, lane, &words(&block.quants));
                for (scales, scale) in self.scales.iter_mut().zip(block.scales) {
                    scales[lane] = to_half(scale);
                }
            }

            #[inline(always)]
            fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes) {
                let (low, high) = S::nibbles(S::load_bytes(&self.quants[index]));
                (S::look_up(&Self::TABLE, low), S::look_up(&Self::TABLE, high))
            }

            #[inline(always)]
            fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats) {
                let scaled = match &self.scales[..] {
                    [first, second] => scaled_halves::<S>(products, first, second),
                    [first, ..] => S::mul(S::to_floats(products[0]), S::load_f16(first)),
                    [] => return,
                };
                *sums = S::fma(scaled, S::splat(x.scale), *sums);
            }
        }
    };
}

table_layout!(
    /// 32 inputs of sixteen outputs, in the levels of ggml's `IQ4_NL`.
    NonLinear4: 1 of NON_LINEAR_LEVELS, offset BYTE_OFFSET
);
table_layout!(
    /// 32 inputs of sixteen outputs, as floats of 4 bits (E2M1).
    E2m1: 1 of E2M1_LEVELS, offset 12
);
table_layout!(
    /// The same, with a scale for each half of the block.
    E2m1Halves: 2 of E2M1_LEVELS, offset 12
);
table_layout!(
    /// 32 inputs of sixteen outputs, in the levels of ggml's `IQ3_S`.
    Iq3S: 1 of IQ3_S_LEVELS, offset 16
);
table_layout!(
    /// 32 inputs of sixteen outputs, in the levels of ggml's `IQ3_XXS`.
    Iq3Xxs: 1 of IQ3_XXS_LEVELS, offset BYTE_OFFSET
);
table_layout!(
    /// 32 inputs of sixteen outputs, in the levels of ggml's formats of 2 bits, with a scale for each half of the block.
    Iq2Halves: 2 of IQ2_LEVELS, offset BYTE_OFFSET
);
table_layout!(
    /// 32 inputs of sixteen outputs, in the levels of ggml's formats of 1 bit, with a scale for each half of the block.
    Iq1Halves: 2 of IQ1_LEVELS, offset 12
);
