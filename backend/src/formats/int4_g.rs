//! `INT4_G`: weights of 4 bits whose groups are in any order, as numbers in single precision.
//!
//! No file has it: it is how tensors of GPTQ with an order of their own are brought to memory, where the CPU kernels hold them in 8
//! bits.

use super::{BLOCK, Decoder, Format};

pub(super) const FORMAT: Format = Format {
    name: "INT4_G",
    ggml_type: None,
    block_elements: BLOCK,
    block_bytes: 4 * BLOCK,
    candle: None,
    decoder: Decoder::Values(decode),
};

fn decode(data: &[u8], values: &mut Vec<f32>) {
    let numbers = data.as_chunks::<4>().0.iter();
    values.extend(numbers.map(|bytes| f32::from_le_bytes(*bytes)));
}
