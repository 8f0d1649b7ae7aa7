//! `Q1_0`: signs, and a scale for every 128.

use super::bits::{block, half_at};
use super::mxfp4::index_of;
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const ELEMENTS: usize = 128;
const BYTES: usize = 2 + ELEMENTS / 8;

pub(super) const FORMAT: Format = Format {
    name: "Q1_0",
    ggml_type: Some(41),
    block_elements: ELEMENTS,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::E2m1, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let bytes: &[u8; BYTES] = block(row, index / (ELEMENTS / BLOCK));
    let signs = &bytes[2 + index % (ELEMENTS / BLOCK) * 4..][..4];
    QuantBlock {
        quants: std::array::from_fn(|i| index_of(2 * (signs[i / 8] >> (i % 8) & 1) as i8 - 1)),
        scales: [half_at(bytes, 0); 2],
        mins: [0.0; 2],
    }
}
