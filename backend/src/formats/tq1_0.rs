//! `TQ1_0`: five ternary weights a byte (four in the last bytes), and a scale for every 256.

use super::bits::{half_at, super_block};
use super::mxfp4::index_of;
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

/// Bytes of five weights: 32 weights in each of 32 bytes, then 16 in each of 16.
const FIVES: usize = 48;
const BYTES: usize = FIVES + 4 + 2;

pub(super) const FORMAT: Format = Format {
    name: "TQ1_0",
    ggml_type: Some(34),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::E2m1, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    QuantBlock {
        quants: std::array::from_fn(|i| {
            let weight = BLOCK * block + i;
            let (byte, digit) = match weight {
                0..160 => (weight % 32, weight / 32),
                160..240 => (32 + (weight - 160) % 16, (weight - 160) / 16),
                _ => (FIVES + (weight - 240) % 4, (weight - 240) / 4),
            };
            // A byte is a fraction of 256 in base three, rounded up: its first digits are lost in the multiplication.
            let rest = bytes[byte].wrapping_mul([1, 3, 9, 27, 81][digit]);
            index_of(((u16::from(rest) * 3) >> 8) as i8 - 1)
        }),
        scales: [half_at(bytes, FIVES + 4); 2],
        mins: [0.0; 2],
    }
}
