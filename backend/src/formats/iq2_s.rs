//! `IQ2_S`: groups of 8 of a codebook of 1024, with 8 bits of signs each, and a 4-bit scale for every 16.

use super::bits::{half_at, super_block};
use super::codebooks::IQ2_S;
use super::iq2::{eighth, scales};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const CODES: usize = 2;
const SIGNS: usize = CODES + SUPER_BLOCK / 8;
const UPPER: usize = SIGNS + SUPER_BLOCK / 8;
const SCALES: usize = UPPER + SUPER_BLOCK / 32;
const BYTES: usize = SCALES + SUPER_BLOCK / 32;

pub(super) const FORMAT: Format = Format {
    name: "IQ2_S",
    ggml_type: Some(22),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::Iq2Halves, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let upper = bytes[UPPER + block];
    let mut quants = [0; BLOCK];
    for (group, quants) in quants.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let at = 4 * block + group;
        let upper = usize::from(upper >> (2 * group) & 3) << 8;
        let entry = IQ2_S[usize::from(bytes[CODES + at]) | upper];
        *quants = eighth(entry, bytes[SIGNS + at]);
    }
    QuantBlock {
        quants,
        scales: scales(half_at(bytes, 0), bytes[SCALES + block]),
        mins: [0.0; 2],
    }
}
