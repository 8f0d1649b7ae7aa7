//! `F8_E4M3`: 8-bit floats (E4M3 without infinities: Micikevicius et al., 2209.05433), and a scale for every 32.
//!
//! No file has it: it is how tensors of 8-bit floats with scales of their own are held.

use super::bits::f32_at;
use super::{BLOCK, Decoder, Format};

const BYTES: usize = 4 + BLOCK;

pub(super) const FORMAT: Format = Format {
    name: "F8_E4M3",
    ggml_type: None,
    block_elements: BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Values(decode),
};

/// What a byte stands for.
fn value(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude = match (byte & 0x7f, exponent) {
        (0x7f, _) => f32::NAN,
        (_, 0) => mantissa / 512.0,
        _ => (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7),
    };
    if byte < 0x80 { magnitude } else { -magnitude }
}

fn decode(data: &[u8], values: &mut Vec<f32>) {
    let table: [f32; 256] = std::array::from_fn(|byte| value(byte as u8));
    for block in data.as_chunks::<BYTES>().0 {
        let scale = f32_at(block, 0);
        values.extend(
            block[4..]
                .iter()
                .map(|byte| table[usize::from(*byte)] * scale),
        );
    }
}
