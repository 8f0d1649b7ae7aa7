//! `MXFP4`: a power of two and 32 4-bit floats (OCP Microscaling Formats 1.0, E2M1 with E8M0).
//!
//! The CPU kernels hold the power in half precision: exactly from 2^-23 to 2^16, which no trained weights exceed.

use super::bits::{block, nibbles};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const BYTES: usize = 1 + 16;

/// Twice the values of the 4-bit floats.
pub(crate) const LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The index of a small whole level: from -4 to 4.
pub(super) fn index_of(level: i8) -> u8 {
    match level {
        0.. => level as u8,
        _ => 8 + level.unsigned_abs(),
    }
}

pub(super) const FORMAT: Format = Format {
    name: "MXFP4",
    ggml_type: Some(39),
    block_elements: BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::E2m1, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let block: &[u8; BYTES] = block(row, index);
    // Half of 2^(e - 127), exactly: the smallest two are subnormal.
    let scale = match block[0] {
        0 => 0x20_0000,
        exponent => u32::from(exponent - 1) << 23 | u32::from(exponent == 1) << 22,
    };
    QuantBlock {
        quants: nibbles(&block[1..]),
        scales: [f32::from_bits(scale); 2],
        mins: [0.0; 2],
    }
}
