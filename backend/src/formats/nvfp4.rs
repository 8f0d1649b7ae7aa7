//! `NVFP4`: 4-bit floats (E2M1), and an 8-bit float (E4M3, without a sign) as the scale of every 16.
//!
//! A tensor may have one more scale, for all of it: then it is held as `NVFP4_S`, which has that one in every block.

use super::bits::{block, f32_at};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const ELEMENTS: usize = 64;
const BYTES: usize = 4 + ELEMENTS / 2;
const SCALED_BYTES: usize = 4 + BYTES;

pub(super) const FORMAT: Format = Format {
    name: "NVFP4",
    ggml_type: Some(40),
    block_elements: ELEMENTS,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::E2m1Halves, unpack),
};

pub(super) const SCALED: Format = Format {
    name: "NVFP4_S",
    ggml_type: None,
    block_elements: ELEMENTS,
    block_bytes: SCALED_BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::E2m1Halves, unpack_scaled),
};

/// Half of what the byte stands for: levels are doubled.
fn half_scale(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    match (byte & 0x7f, exponent) {
        (0 | 0x7f, _) => 0.0,
        (_, 0) => mantissa / 1024.0,
        _ => (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 8),
    }
}

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let bytes: &[u8; BYTES] = block(row, index / (ELEMENTS / BLOCK));
    of_block(bytes, index % (ELEMENTS / BLOCK), 1.0)
}

fn unpack_scaled(row: &[u8], index: usize) -> QuantBlock {
    let bytes: &[u8; SCALED_BYTES] = block(row, index / (ELEMENTS / BLOCK));
    of_block(&bytes[4..], index % (ELEMENTS / BLOCK), f32_at(bytes, 0))
}

/// One of the halves of a block.
fn of_block(bytes: &[u8], half: usize, scale: f32) -> QuantBlock {
    let scales = &bytes[2 * half..][..2];
    let quants = &bytes[4 + half * BLOCK / 2..][..BLOCK / 2];
    // Eight bytes hold sixteen numbers: first all lower halves.
    let nibble = |i: usize| quants[i / 16 * 8 + i % 8] >> (4 * (i % 16 / 8)) & 15;
    QuantBlock {
        quants: std::array::from_fn(nibble),
        scales: [half_scale(scales[0]) * scale, half_scale(scales[1]) * scale],
        mins: [0.0; 2],
    }
}
