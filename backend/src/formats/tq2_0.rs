//! `TQ2_0`: ternary weights of 2 bits, and a scale for every 256.

use super::bits::{half_at, super_block};
use super::mxfp4::index_of;
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const BYTES: usize = SUPER_BLOCK / 4 + 2;

pub(super) const FORMAT: Format = Format {
    name: "TQ2_0",
    ggml_type: Some(35),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::E2m1, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    // Four blocks share 32 bytes.
    let (shared, shift) = (&bytes[block / 4 * BLOCK..][..BLOCK], 2 * (block % 4));
    QuantBlock {
        quants: std::array::from_fn(|i| index_of((shared[i] >> shift & 3) as i8 - 1)),
        scales: [half_at(bytes, SUPER_BLOCK / 4); 2],
        mins: [0.0; 2],
    }
}
