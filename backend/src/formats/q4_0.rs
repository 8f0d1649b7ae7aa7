//! `Q4_0`: a scale and 32 4-bit quants from -8 to 7.

use candle_core::quantized::GgmlDType;

use super::bits::{block, half_at, nibbles};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const BYTES: usize = 2 + 16;

pub(super) const FORMAT: Format = Format {
    name: "Q4_0",
    ggml_type: Some(2),
    block_elements: BLOCK,
    block_bytes: BYTES,
    candle: Some(GgmlDType::Q4_0),
    decoder: Decoder::Quants(Quantization::Affine4, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let block: &[u8; BYTES] = block(row, index);
    let scale = half_at(block, 0);
    QuantBlock {
        quants: nibbles(&block[2..]),
        scales: [scale; 2],
        mins: [-8.0 * scale; 2],
    }
}
