//! `IQ4_NL`: a scale and 32 4-bit indices of levels that are not evenly spaced.

use super::bits::{block, half_at, nibbles};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const BYTES: usize = 2 + 16;

/// The levels that indices stand for (`kvalues_iq4nl`).
pub(crate) const LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

pub(super) const FORMAT: Format = Format {
    name: "IQ4_NL",
    ggml_type: Some(20),
    block_elements: BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::NonLinear4, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let block: &[u8; BYTES] = block(row, index);
    QuantBlock {
        quants: nibbles(&block[2..]),
        scales: [half_at(block, 0); 2],
        mins: [0.0; 2],
    }
}
