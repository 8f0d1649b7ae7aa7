//! `IQ2_XS`: groups of 8 of a codebook of 512, with 7 bits of signs each, and a 4-bit scale for every 16.

use super::bits::{half_at, super_block};
use super::codebooks::IQ2_XS;
use super::iq2::{eighth, scales, signs_of};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const CODES: usize = 2;
const SCALES: usize = CODES + SUPER_BLOCK / 8 * 2;
const BYTES: usize = SCALES + SUPER_BLOCK / 32;

pub(super) const FORMAT: Format = Format {
    name: "IQ2_XS",
    ggml_type: Some(17),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::Iq2Halves, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let codes = bytes[CODES + 8 * block..][..8].as_chunks::<2>().0;
    let mut quants = [0; BLOCK];
    for (code, quants) in codes.iter().zip(quants.as_chunks_mut::<8>().0) {
        let code = u16::from_le_bytes(*code);
        let signs = signs_of((code >> 9).into());
        *quants = eighth(IQ2_XS[usize::from(code & 511)], signs);
    }
    QuantBlock {
        quants,
        scales: scales(half_at(bytes, 0), bytes[SCALES + block]),
        mins: [0.0; 2],
    }
}
