//! Floats: one element per block, little endian.

use half::{bf16, f16};

use super::{Decoder, Format};

pub(super) const F32: Format = Format {
    name: "F32",
    ggml_type: Some(0),
    block_elements: 1,
    block_bytes: 4,
    candle: None,
    decoder: Decoder::Values(|data, values| {
        let elements = data.as_chunks().0.iter();
        values.extend(elements.map(|bytes| f32::from_le_bytes(*bytes)));
    }),
};

/// IEEE half precision.
pub(super) const F16: Format = Format {
    name: "F16",
    ggml_type: Some(1),
    block_elements: 1,
    block_bytes: 2,
    candle: None,
    decoder: Decoder::Values(|data, values| {
        let elements = data.as_chunks().0.iter();
        values.extend(elements.map(|bytes| f16::from_le_bytes(*bytes).to_f32()));
    }),
};

/// The upper half of an `f32`.
pub(super) const BF16: Format = Format {
    name: "BF16",
    ggml_type: Some(30),
    block_elements: 1,
    block_bytes: 2,
    candle: None,
    decoder: Decoder::Values(|data, values| {
        let elements = data.as_chunks().0.iter();
        values.extend(elements.map(|bytes| bf16::from_le_bytes(*bytes).to_f32()));
    }),
};
