//! `Q3_K`: 3-bit quants from -4 to 3, with a 6-bit scale for every 16.

use candle_core::quantized::GgmlDType;

use super::bits::{half_at, super_block};
use super::mxfp4::index_of;
use super::{Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const BYTES: usize = 32 + 64 + 12 + 2;

pub(super) const FORMAT: Format = Format {
    name: "Q3_K",
    ggml_type: Some(11),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: Some(GgmlDType::Q3K),
    decoder: Decoder::Quants(Quantization::E2m1Halves, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let (upper, lower, scales) = (&bytes[..32], &bytes[32..96], &bytes[96..108]);
    let lower = &lower[block / 4 * 32..];
    let quants = std::array::from_fn(|i| {
        let bits = lower[i] >> (2 * (block % 4)) & 3;
        // A set bit means that four were not subtracted.
        index_of(bits as i8 - 4 * (1 - (upper[i] >> block & 1) as i8))
    });
    let d = half_at(bytes, 108);
    let scale = |index: usize| {
        let low = scales[index % 8] >> (4 * (index / 8)) & 15;
        let high = scales[8 + index % 4] >> (2 * (index / 4)) & 3;
        d * (f32::from(low | high << 4) - 32.0)
    };
    QuantBlock {
        quants,
        scales: [scale(2 * block), scale(2 * block + 1)],
        mins: [0.0; 2],
    }
}
