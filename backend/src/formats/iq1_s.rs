//! `IQ1_S`: groups of 8 of a codebook of 2048, with a shift and a 3-bit scale for every 32.

use super::bits::{half_at, super_block};
use super::codebooks::IQ1;
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const CODES: usize = 2;
const UPPER: usize = CODES + SUPER_BLOCK / 8;
const BYTES: usize = UPPER + SUPER_BLOCK / 32 * 2;

/// Eight times the levels -1, 0 and 1 and their shift of an eighth: up, then down.
pub(crate) const LEVELS: [i8; 16] = [-7, 1, 9, 0, -9, -1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(super) const FORMAT: Format = Format {
    name: "IQ1_S",
    ggml_type: Some(19),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::Iq1Halves, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let word = u16::from_le_bytes([bytes[UPPER + 2 * block], bytes[UPPER + 2 * block + 1]]);
    let codes = &bytes[CODES + 4 * block..][..4];
    let mut quants = [0; BLOCK];
    for (group, quants) in quants.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let upper = usize::from(word >> (3 * group) & 7) << 8;
        *quants = shifted(usize::from(codes[group]) | upper, word >> 15 != 0);
    }
    let scale = half_at(bytes, 0) * f32::from(2 * (word >> 12 & 7) + 1);
    QuantBlock {
        quants,
        scales: [scale / 8.0; 2],
        mins: [0.0; 2],
    }
}

/// A group's levels, shifted up or down.
pub(super) fn shifted(entry: usize, is_down: bool) -> [u8; 8] {
    let shift = u8::from(is_down) << 2;
    let entry = IQ1[entry];
    std::array::from_fn(|i| (entry >> (2 * i) & 3) as u8 | shift)
}
