//! `IQ3_S`: groups of 4 of a codebook of 512, with 8 bits of signs for two of them, and a 4-bit scale for every 32.

use super::bits::{half_at, super_block};
use super::codebooks::IQ3_S;
use super::iq2::{sign_bit, with_signs};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const CODES: usize = 2;
const UPPER: usize = CODES + SUPER_BLOCK / 4;
const SIGNS: usize = UPPER + SUPER_BLOCK / 32;
const SCALES: usize = SIGNS + SUPER_BLOCK / 8;
const BYTES: usize = SCALES + SUPER_BLOCK / 64;

/// Odd levels, and the same negative.
pub(crate) const LEVELS: [i8; 16] = with_signs([1, 3, 5, 7, 9, 11, 13, 15]);

pub(super) const FORMAT: Format = Format {
    name: "IQ3_S",
    ggml_type: Some(21),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::Iq3S, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let (codes, upper) = (&bytes[CODES + 8 * block..][..8], bytes[UPPER + block]);
    let signs = &bytes[SIGNS + 4 * block..][..4];
    let scale = bytes[SCALES + block / 2] >> (4 * (block % 2)) & 15;
    let quants: [u8; BLOCK] = std::array::from_fn(|i| {
        let upper = usize::from(upper >> (i / 4) & 1) << 8;
        let entry = IQ3_S[usize::from(codes[i / 4]) | upper];
        (entry >> (3 * (i % 4)) & 7) as u8 | sign_bit(signs[i / 8], i % 8)
    });
    QuantBlock {
        quants,
        scales: [half_at(bytes, 0) * f32::from(1 + 2 * scale); 2],
        mins: [0.0; 2],
    }
}
