//! `Q6_K`: 6-bit quants from -32 to 31, with an 8-bit scale for every 16.

use candle_core::quantized::GgmlDType;

use super::bits::{half_at, super_block};
use super::{Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const BYTES: usize = 128 + 64 + 16 + 2;

pub(super) const FORMAT: Format = Format {
    name: "Q6_K",
    ggml_type: Some(14),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: Some(GgmlDType::Q6K),
    decoder: Decoder::Quants(Quantization::Symmetric6, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    // Each half of the super-block holds the quants of four blocks.
    let (half, block_of_half) = (block / 4, block % 4);
    let lower = &bytes[64 * half + 32 * (block_of_half % 2)..];
    let upper = &bytes[128 + 32 * half..];
    let quants = std::array::from_fn(|i| {
        let low = lower[i] >> (4 * (block_of_half / 2)) & 15;
        low | (upper[i] >> (2 * block_of_half) & 3) << 4
    });
    let d = half_at(bytes, 208);
    let scale = |index: usize| d * f32::from(bytes[192 + index] as i8);
    QuantBlock {
        quants,
        scales: [scale(2 * block), scale(2 * block + 1)],
        mins: [0.0; 2],
    }
}
