//! `Q5_K`: 5-bit quants, with a 6-bit scale and minimum for every 32.

use candle_core::quantized::GgmlDType;

use super::bits::{half_at, k_nibbles, k_scale_min, super_block};
use super::{Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const BYTES: usize = 2 + 2 + 12 + 32 + 128;

pub(super) const FORMAT: Format = Format {
    name: "Q5_K",
    ggml_type: Some(13),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: Some(GgmlDType::Q5K),
    decoder: Decoder::Quants(Quantization::Affine5, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let (scale, min) = k_scale_min(&bytes[4..16], block);
    let mut quants = k_nibbles(&bytes[48..], block);
    for (quant, bits) in quants.iter_mut().zip(&bytes[16..48]) {
        *quant |= (bits >> block & 1) << 4;
    }
    QuantBlock {
        quants,
        scales: [half_at(bytes, 0) * scale; 2],
        mins: [-half_at(bytes, 2) * min; 2],
    }
}
