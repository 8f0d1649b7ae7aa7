//! How a block of weights lies in memory.
//!
//! A block holds 32 inputs of sixteen outputs, each of which has a lane of its own, so that sums need no steps across
//! lanes and scales load as one vector. A vector of bytes holds four neighbouring inputs of each of the sixteen outputs.
//! Vectors come in the order of the inputs; where a byte holds two weights, its lower half is of the first 16 inputs and
//! its upper half of the last 16.

use half::f16;

use super::memory::Plain;
use super::simd::LANES;

/// Inputs of a block.
pub(super) const BLOCK: usize = 32;

/// 4-bit weights: `scale * quant + min`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block4 {
    pub(super) quants: [[u8; 4 * LANES]; 4],
    pub(super) scales: [u16; LANES],
    pub(super) mins: [u16; LANES],
}

/// 5-bit weights: `scale * quant + min`. Fifth bits follow each other, eight bytes to a vector of 64.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block5 {
    pub(super) quants: [[u8; 4 * LANES]; 4],
    pub(super) fifth_bits: [[u8; 8]; 8],
    pub(super) scales: [u16; LANES],
    pub(super) mins: [u16; LANES],
}

/// 6-bit weights: `scale * (quant - 32)`, with a scale for each half of the block. A byte of `upper_bits[half]`
/// holds the upper two bits of the half's four vectors, the first's lowest.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block6 {
    pub(super) quants: [[u8; 4 * LANES]; 4],
    pub(super) upper_bits: [[u8; 4 * LANES]; 2],
    pub(super) scales: [[u16; LANES]; 2],
}

/// 8-bit weights: `scale * (quant - 128)`.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Block8 {
    pub(super) quants: [[u8; 4 * LANES]; 8],
    pub(super) scales: [u16; LANES],
}

// SAFETY: numbers; the sizes are multiples of the alignments, so there is no padding.
unsafe impl Plain for Block4 {}
// SAFETY: as above.
unsafe impl Plain for Block5 {}
// SAFETY: as above.
unsafe impl Plain for Block6 {}
// SAFETY: as above.
unsafe impl Plain for Block8 {}

/// A block of 32 weights of one output, as integers and their scales.
pub(super) struct Unpacked {
    /// Not negative, as many bits as the layout has.
    pub(super) quants: [u8; BLOCK],
    /// Of each half of the block; where the layout has one scale, the first counts.
    pub(super) scales: [f32; 2],
    pub(super) min: f32,
}

/// A layout of quantized blocks.
pub(super) trait BlockLayout: Plain {
    /// Takes in a block of one output.
    fn insert(&mut self, lane: usize, block: &Unpacked);
    /// A weight, widened.
    fn weight(&self, lane: usize, input: usize) -> f32;
}

/// Four bytes of one lane of a vector.
fn lane_bytes(vector: &mut [u8; 4 * LANES], lane: usize) -> &mut [u8] {
    &mut vector[4 * lane..4 * lane + 4]
}

/// Lower four bits of a block's quants, two in a byte.
fn insert_nibbles(vectors: &mut [[u8; 4 * LANES]; 4], lane: usize, quants: &[u8; BLOCK]) {
    let (low, high) = quants.split_at(BLOCK / 2);
    for (vector, (low, high)) in vectors.iter_mut().zip(low.chunks(4).zip(high.chunks(4))) {
        for (byte, (low, high)) in lane_bytes(vector, lane)
            .iter_mut()
            .zip(low.iter().zip(high))
        {
            *byte = low & 15 | high << 4;
        }
    }
}

fn nibble(vectors: &[[u8; 4 * LANES]; 4], lane: usize, input: usize) -> u8 {
    let byte = vectors[input % 16 / 4][4 * lane + input % 4];
    if input < 16 { byte & 15 } else { byte >> 4 }
}

fn half_bits(value: f32) -> u16 {
    f16::from_f32(value).to_bits()
}

pub(super) fn widen(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

impl BlockLayout for Block4 {
    fn insert(&mut self, lane: usize, block: &Unpacked) {
        insert_nibbles(&mut self.quants, lane, &block.quants);
        self.scales[lane] = half_bits(block.scales[0]);
        self.mins[lane] = half_bits(block.min);
    }

    fn weight(&self, lane: usize, input: usize) -> f32 {
        let quant = nibble(&self.quants, lane, input);
        widen(self.scales[lane]) * f32::from(quant) + widen(self.mins[lane])
    }
}

impl BlockLayout for Block5 {
    fn insert(&mut self, lane: usize, block: &Unpacked) {
        insert_nibbles(&mut self.quants, lane, &block.quants);
        for (vector, quants) in self.fifth_bits.iter_mut().zip(block.quants.chunks(4)) {
            for (i, quant) in quants.iter().enumerate() {
                let byte = 4 * lane + i;
                vector[byte / 8] |= (quant >> 4 & 1) << (byte % 8);
            }
        }
        self.scales[lane] = half_bits(block.scales[0]);
        self.mins[lane] = half_bits(block.min);
    }

    fn weight(&self, lane: usize, input: usize) -> f32 {
        let byte = 4 * lane + input % 4;
        let fifth = self.fifth_bits[input / 4][byte / 8] >> (byte % 8) & 1;
        let quant = nibble(&self.quants, lane, input) | fifth << 4;
        widen(self.scales[lane]) * f32::from(quant) + widen(self.mins[lane])
    }
}

impl BlockLayout for Block6 {
    fn insert(&mut self, lane: usize, block: &Unpacked) {
        insert_nibbles(&mut self.quants, lane, &block.quants);
        for (input, quant) in block.quants.iter().enumerate() {
            let byte = &mut self.upper_bits[input / 16][4 * lane + input % 4];
            *byte |= (quant >> 4) << (2 * (input % 16 / 4));
        }
        for (scales, scale) in self.scales.iter_mut().zip(block.scales) {
            scales[lane] = half_bits(scale);
        }
    }

    fn weight(&self, lane: usize, input: usize) -> f32 {
        let upper = self.upper_bits[input / 16][4 * lane + input % 4] >> (2 * (input % 16 / 4)) & 3;
        let quant = nibble(&self.quants, lane, input) | upper << 4;
        widen(self.scales[input / 16][lane]) * (f32::from(quant) - 32.0)
    }
}

impl BlockLayout for Block8 {
    fn insert(&mut self, lane: usize, block: &Unpacked) {
        for (vector, quants) in self.quants.iter_mut().zip(block.quants.chunks(4)) {
            lane_bytes(vector, lane).copy_from_slice(quants);
        }
        self.scales[lane] = half_bits(block.scales[0]);
    }

    fn weight(&self, lane: usize, input: usize) -> f32 {
        let quant = self.quants[input / 4][4 * lane + input % 4];
        widen(self.scales[lane]) * (f32::from(quant) - 128.0)
    }
}
