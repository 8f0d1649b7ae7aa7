//! `IQ4_XS`: 4-bit indices of the levels of `IQ4_NL`, with a 6-bit scale for every 32.

use super::bits::{half_at, nibbles, super_block};
use super::{Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const BYTES: usize = 2 + 2 + 4 + 128;

pub(super) const FORMAT: Format = Format {
    name: "IQ4_XS",
    ggml_type: Some(23),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::NonLinear4, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let upper = u16::from_le_bytes([bytes[2], bytes[3]]) >> (2 * block) & 3;
    let lower = bytes[4 + block / 2] >> (4 * (block % 2)) & 15;
    let scale = half_at(bytes, 0) * (f32::from(upper << 4 | u16::from(lower)) - 32.0);
    QuantBlock {
        quants: nibbles(&bytes[8 + 16 * block..]),
        scales: [scale; 2],
        mins: [0.0; 2],
    }
}
