//! `Q4_K`: 4-bit quants, with a 6-bit scale and minimum for every 32.

use candle_core::quantized::GgmlDType;

use super::bits::{half_at, k_nibbles, k_scale_min, super_block};
use super::{Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const BYTES: usize = 2 + 2 + 12 + 128;

pub(super) const FORMAT: Format = Format {
    name: "Q4_K",
    ggml_type: Some(12),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: Some(GgmlDType::Q4K),
    decoder: Decoder::Quants(Quantization::Affine4, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let (scale, min) = k_scale_min(&bytes[4..16], block);
    QuantBlock {
        quants: k_nibbles(&bytes[16..], block),
        scales: [half_at(bytes, 0) * scale; 2],
        mins: [-half_at(bytes, 2) * min; 2],
    }
}
