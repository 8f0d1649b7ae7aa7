//! `IQ2_S`: groups of 8 of a codebook of 1024, with 8 bits of signs each, and a 4-bit scale for every 16.

use super::bits::{block, half_at};
use super::codebooks::IQ2_S;
use super::iq2::{eighth, push, scales};
use super::{Decoder, Format, SUPER_BLOCK};

const CODES: usize = 2;
const SIGNS: usize = CODES + SUPER_BLOCK / 8;
const UPPER: usize = SIGNS + SUPER_BLOCK / 8;
const SCALES: usize = UPPER + SUPER_BLOCK / 32;
const BYTES: usize = SCALES + SUPER_BLOCK / 32;

pub(super) const FORMAT: Format = Format {
    name: "IQ2_S",
    ggml_type: Some(22),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Values(decode),
};

fn decode(data: &[u8], values: &mut Vec<f32>) {
    for index in 0..data.len() / BYTES {
        let bytes: &[u8; BYTES] = block(data, index);
        let scale = half_at(bytes, 0);
        for part in 0..SUPER_BLOCK / 32 {
            let upper = bytes[UPPER + part];
            let groups = std::array::from_fn(|group| {
                let at = 4 * part + group;
                let upper = usize::from(upper >> (2 * group) & 3) << 8;
                let entry = IQ2_S[usize::from(bytes[CODES + at]) | upper];
                eighth(entry, bytes[SIGNS + at])
            });
            push(groups, scales(scale, bytes[SCALES + part]), values);
        }
    }
}
