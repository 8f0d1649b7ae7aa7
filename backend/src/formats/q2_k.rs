//! `Q2_K`: 2-bit quants with a 4-bit scale and minimum for every 16, which no CPU layout has: Candle decodes it.

use candle_core::quantized::GgmlDType;

use super::{Decoder, Format, SUPER_BLOCK};

pub(super) const FORMAT: Format = Format {
    name: "Q2_K",
    ggml_type: Some(10),
    block_elements: SUPER_BLOCK,
    block_bytes: 16 + 64 + 2 + 2,
    candle: Some(GgmlDType::Q2K),
    decoder: Decoder::Candle,
};
