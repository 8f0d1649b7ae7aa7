//! `Q2_K`: 2-bit quants with a 4-bit scale and minimum for every 16.

use candle_core::quantized::GgmlDType;

use super::bits::{half_at, super_block};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const QUANTS: usize = 16;
const BYTES: usize = QUANTS + 64 + 2 + 2;

pub(super) const FORMAT: Format = Format {
    name: "Q2_K",
    ggml_type: Some(10),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: Some(GgmlDType::Q2K),
    decoder: Decoder::Quants(Quantization::Affine2Halves, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    // Four blocks share 32 bytes.
    let (shared, shift) = (
        &bytes[QUANTS + block / 4 * BLOCK..][..BLOCK],
        2 * (block % 4),
    );
    let halves = [bytes[2 * block], bytes[2 * block + 1]];
    let (scale, min) = (half_at(bytes, 80), half_at(bytes, 82));
    QuantBlock {
        quants: std::array::from_fn(|i| shared[i] >> shift & 3),
        scales: halves.map(|half| scale * f32::from(half & 15)),
        mins: halves.map(|half| -min * f32::from(half >> 4)),
    }
}
