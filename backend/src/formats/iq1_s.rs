//! `IQ1_S`: groups of 8 of a codebook of 2048, with a shift and a 3-bit scale for every 32.

use super::bits::{half_at, super_block};
use super::codebooks::IQ1;
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const CODES: usize = 2;
const UPPER: usize = CODES + SUPER_BLOCK / 8;
const BYTES: usize = UPPER + SUPER_BLOCK / 32 * 2;

pub(super) const FORMAT: Format = Format {
    name: "IQ1_S",
    ggml_type: Some(19),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::Symmetric6, unpack),
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
        min: 0.0,
    }
}

/// Eight times a group's levels (-1, 0 or 1) and their shift of an eighth, plus 32.
pub(super) fn shifted(entry: usize, is_down: bool) -> [u8; 8] {
    let shift = if is_down { 31 } else { 33 };
    let entry = IQ1[entry];
    std::array::from_fn(|i| 8 * (entry >> (2 * i) & 3) as u8 + shift - 8)
}
