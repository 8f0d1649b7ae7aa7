//! `IQ3_XXS`: groups of 4 of a codebook of 256, with 7 bits of signs for two of them, and a 4-bit scale for every 32.

use super::bits::{half_at, super_block, word_at};
use super::codebooks::IQ3_XXS;
use super::iq2::{SIGNS, sign_bit, signs_of, with_signs};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const CODES: usize = 2;
const SCALES: usize = CODES + SUPER_BLOCK / 4;
const BYTES: usize = SCALES + SUPER_BLOCK / 8;

pub(crate) const LEVELS: [i8; 16] = with_signs([4, 12, 20, 28, 36, 44, 52, 62]);

pub(super) const FORMAT: Format = Format {
    name: "IQ3_XXS",
    ggml_type: Some(18),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::Iq3Xxs, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let codes = &bytes[CODES + 8 * block..][..8];
    let word = word_at(bytes, SCALES + 4 * block);
    let quants: [u8; BLOCK] = std::array::from_fn(|i| {
        let entry = IQ3_XXS[usize::from(codes[i / 4])];
        let signs = signs_of(word >> (7 * (i / 8)) & SIGNS);
        (entry >> (3 * (i % 4)) & 7) as u8 | sign_bit(signs, i % 8)
    });
    QuantBlock {
        quants,
        scales: [half_at(bytes, 0) * (0.5 + (word >> 28) as f32) * 0.5; 2],
        mins: [0.0; 2],
    }
}
