//! `Q5_1`: a scale, a minimum and 32 5-bit quants, their fifth bits stored separately.

use candle_core::quantized::GgmlDType;

use super::bits::{block, half_at, nibbles, with_fifth_bits};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const BYTES: usize = 2 + 2 + 4 + 16;

pub(super) const FORMAT: Format = Format {
    name: "Q5_1",
    ggml_type: Some(7),
    block_elements: BLOCK,
    block_bytes: BYTES,
    candle: Some(GgmlDType::Q5_1),
    decoder: Decoder::Quants(Quantization::Affine5, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let block: &[u8; BYTES] = block(row, index);
    QuantBlock {
        quants: with_fifth_bits(nibbles(&block[8..]), &block[4..8]),
        scales: [half_at(block, 0); 2],
        mins: [half_at(block, 2); 2],
    }
}
