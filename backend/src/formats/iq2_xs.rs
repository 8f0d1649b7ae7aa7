//! `IQ2_XS`: groups of 8 of a codebook of 512, with 7 bits of signs each, and a 4-bit scale for every 16.

use super::bits::{block, half_at};
use super::codebooks::IQ2_XS;
use super::iq2::{eighth, push, scales, signs_of};
use super::{Decoder, Format, SUPER_BLOCK};

const CODES: usize = 2;
const SCALES: usize = CODES + SUPER_BLOCK / 8 * 2;
const BYTES: usize = SCALES + SUPER_BLOCK / 32;

pub(super) const FORMAT: Format = Format {
    name: "IQ2_XS",
    ggml_type: Some(17),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Values(decode),
};

fn decode(data: &[u8], values: &mut Vec<f32>) {
    for index in 0..data.len() / BYTES {
        let bytes: &[u8; BYTES] = block(data, index);
        let scale = half_at(bytes, 0);
        let codes = bytes[CODES..SCALES].as_chunks::<2>().0;
        for (codes, byte) in codes.as_chunks::<4>().0.iter().zip(&bytes[SCALES..]) {
            let groups = codes.map(|code| {
                let code = u16::from_le_bytes(code);
                eighth(
                    IQ2_XS[usize::from(code & 511)],
                    signs_of((code >> 9).into()),
                )
            });
            push(groups, scales(scale, *byte), values);
        }
    }
}
