//! `Q8_0`: a scale and 32 8-bit quants.

use candle_core::quantized::GgmlDType;

use super::bits::{block, half_at};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const BYTES: usize = 2 + 32;

pub(super) const FORMAT: Format = Format {
    name: "Q8_0",
    ggml_type: Some(8),
    block_elements: BLOCK,
    block_bytes: BYTES,
    candle: Some(GgmlDType::Q8_0),
    decoder: Decoder::Quants(Quantization::Symmetric8, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let block: &[u8; BYTES] = block(row, index);
    QuantBlock {
        // From two's complement to an offset of 128.
        quants: std::array::from_fn(|i| block[2 + i] ^ 128),
        scales: [half_at(block, 0); 2],
        mins: [0.0; 2],
    }
}
