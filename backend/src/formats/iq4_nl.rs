//! `IQ4_NL`: a scale and 32 4-bit indices of levels that are not evenly spaced.

use super::bits::{block, half_at, nibbles};
use super::{BLOCK, Decoder, Format};

const BYTES: usize = 2 + 16;

/// The levels that indices stand for (`kvalues_iq4nl`).
pub(super) const LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

pub(super) const FORMAT: Format = Format {
    name: "IQ4_NL",
    ggml_type: Some(20),
    block_elements: BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Values(decode),
};

fn decode(data: &[u8], values: &mut Vec<f32>) {
    for index in 0..data.len() / BYTES {
        let block: &[u8; BYTES] = block(data, index);
        let scale = half_at(block, 0);
        let level = |index: u8| scale * f32::from(LEVELS[usize::from(index)]);
        values.extend(nibbles(&block[2..]).map(level));
    }
}
