//! `Q5_0`: a scale and 32 5-bit quants from -16 to 15, their fifth bits stored separately.

use candle_core::quantized::GgmlDType;

use super::bits::{block, half_at, nibbles, with_fifth_bits};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const BYTES: usize = 2 + 4 + 16;

pub(super) const FORMAT: Format = Format {
    name: "Q5_0",
    ggml_type: Some(6),
    block_elements: BLOCK,
    block_bytes: BYTES,
    candle: Some(GgmlDType::Q5_0),
    decoder: Decoder::Quants(Quantization::Affine5, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let block: &[u8; BYTES] = block(row, index);
    let scale = half_at(block, 0);
    QuantBlock {
        quants: with_fifth_bits(nibbles(&block[6..]), &block[2..6]),
        scales: [scale; 2],
        mins: [-16.0 * scale; 2],
    }
}
