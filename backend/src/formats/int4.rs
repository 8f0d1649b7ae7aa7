//! `INT4`: weights of 4 bits, `scale * quant + min` in single precision for every 32.
//!
//! No file has it: it is how tensors of GPTQ (2210.17323) and AWQ (2306.00978) are held, whose numbers it keeps exactly.

use super::bits::{block, f32_at, nibbles};
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization};

const BYTES: usize = 4 + 4 + BLOCK / 2;

pub(super) const FORMAT: Format = Format {
    name: "INT4",
    ggml_type: None,
    block_elements: BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::Affine4, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let block: &[u8; BYTES] = block(row, index);
    QuantBlock {
        quants: nibbles(&block[8..]),
        scales: [f32_at(block, 0); 2],
        mins: [f32_at(block, 4); 2],
    }
}
