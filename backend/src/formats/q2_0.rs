//! `Q2_0`: weights of 2 bits from -1 to 2, and a scale for every 64.

use super::bits::{block, half_at};
use super::mxfp4::index_of;
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const ELEMENTS: usize = 64;
const BYTES: usize = 2 + ELEMENTS / 4;

pub(super) const FORMAT: Format = Format {
    name: "Q2_0",
    ggml_type: Some(42),
    block_elements: ELEMENTS,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::E2m1, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let bytes: &[u8; BYTES] = block(row, index / (ELEMENTS / BLOCK));
    let quants = &bytes[2 + index % (ELEMENTS / BLOCK) * 8..][..8];
    QuantBlock {
        quants: std::array::from_fn(|i| index_of((quants[i / 4] >> (2 * (i % 4)) & 3) as i8 - 1)),
        scales: [half_at(bytes, 0); 2],
        mins: [0.0; 2],
    }
}
