//! `Q4_1`: a scale, a minimum and 32 4-bit quants.

use candle_core::quantized::GgmlDType;

use super::bits::{block, half_at, nibbles};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const BYTES: usize = 2 + 2 + 16;

pub(super) const FORMAT: Format = Format {
    name: "Q4_1",
    ggml_type: Some(3),
    block_elements: BLOCK,
    block_bytes: BYTES,
    candle: Some(GgmlDType::Q4_1),
    decoder: Decoder::Quants(Quantization::Affine4, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let block: &[u8; BYTES] = block(row, index);
    QuantBlock {
        quants: nibbles(&block[4..]),
        scales: [half_at(block, 0); 2],
        mins: [half_at(block, 2); 2],
    }
}
