//! `IQ2_XXS`: groups of 8 of a codebook of 256, with 7 bits of signs each, and a 4-bit scale for every 32.

use super::bits::{half_at, super_block, word_at};
use super::codebooks::IQ2_XXS;
use super::iq2::{SIGNS, eighth, signs_of};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const BYTES: usize = 2 + SUPER_BLOCK / 8 * 2;

pub(super) const FORMAT: Format = Format {
    name: "IQ2_XXS",
    ggml_type: Some(16),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::Iq2Halves, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let own = &bytes[2 + 8 * block..][..8];
    let (codes, word) = (&own[..4], word_at(own, 4));
    let mut quants = [0; BLOCK];
    for (group, quants) in quants.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let signs = signs_of(word >> (7 * group) & SIGNS);
        *quants = eighth(IQ2_XXS[usize::from(codes[group])], signs);
    }
    QuantBlock {
        quants,
        scales: [half_at(bytes, 0) * (0.5 + (word >> 28) as f32) * 0.25; 2],
        mins: [0.0; 2],
    }
}
