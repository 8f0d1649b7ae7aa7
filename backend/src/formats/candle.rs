//! Decoding by Candle's `QTensor`: for formats without a decoder of ours, and as the oracle of the others in tests.

use candle_core::{Device, quantized::ggml_file::qtensor_from_ggml};
use half::f16;

use super::Format;
use crate::error::{Error, Result};

/// The number of blocks that are passed to Candle at a time, so that its intermediate copies stay small.
const BLOCKS_AT_ONCE: usize = 1 << 13;

/// Appends the values of whole blocks.
pub(super) fn decode(format: &Format, data: &[u8], values: &mut Vec<f32>) -> Result<()> {
    // Candle reads blocks in place as structs that hold 16-bit floats.
    const ALIGNMENT: usize = align_of::<f16>();
    let Some(dtype) = format.candle else {
        return Err(Error::Compute(format!("Candle has no {}", format.name)));
    };
    let mut buffer = Vec::new();
    for blocks in data.chunks(BLOCKS_AT_ONCE * format.block_bytes) {
        let elements = blocks.len() / format.block_bytes * format.block_elements;
        let aligned = if blocks.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            blocks
        } else {
            buffer.resize(blocks.len() + ALIGNMENT, 0);
            let start = buffer.as_ptr().addr() % ALIGNMENT;
            let copy = &mut buffer[start..start + blocks.len()];
            copy.copy_from_slice(blocks);
            copy
        };
        let tensor = qtensor_from_ggml(dtype, aligned, vec![elements], &Device::Cpu)?;
        values.extend(tensor.dequantize(&Device::Cpu)?.to_vec1::<f32>()?);
    }
    Ok(())
}
