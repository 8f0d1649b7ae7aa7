//! Stored tensors as 32-bit floats: ggml's block formats (`ggml-quants.c`) and 16-bit floats.

use candle_core::{
    Device,
    quantized::{GgmlDType, ggml_file::qtensor_from_ggml},
};
use half::{bf16, f16};

use super::{StorageType, StoredTensor};
use crate::{Error, Result};

/// The levels that `IQ4_NL`'s 4-bit indices stand for.
const IQ4_NL_LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
/// Blocks that are handed to Candle at a time, so that its intermediate copies stay small.
const BLOCKS_AT_ONCE: usize = 1 << 13;

/// The elements of a tensor as `f32`, in the order of its shape.
///
/// Values are exactly ggml's. Fails where the data are not of the size that shape and type ask for.
pub fn dequantize(tensor: &StoredTensor<'_>) -> Result<Vec<f32>> {
    let StoredTensor {
        storage,
        shape,
        data,
    } = tensor;
    let elements = tensor.elements();
    let expected = elements.and_then(|elements| storage.bytes(elements));
    let (Some(elements), true) = (elements, expected == Some(data.len())) else {
        let expected =
            expected.map_or("a whole number of blocks".into(), |bytes| bytes.to_string());
        return Err(Error::Compute(format!(
            "a tensor of shape {shape:?} in {storage}: expected {expected} bytes, found {}",
            data.len()
        )));
    };
    let mut values = Vec::with_capacity(elements);
    match ggml_type(*storage) {
        Some(dtype) => candle_blocks(*storage, dtype, data, &mut values)?,
        None => own_types(*storage, data, &mut values),
    }
    Ok(values)
}

/// Candle's name of a block format; `None` for the formats that it doesn't compute with, and for floats: with
/// 16-bit weights it would round activations to 16 bits.
pub(crate) fn ggml_type(storage: StorageType) -> Option<GgmlDType> {
    Some(match storage {
        StorageType::Q4_0 => GgmlDType::Q4_0,
        StorageType::Q4_1 => GgmlDType::Q4_1,
        StorageType::Q5_0 => GgmlDType::Q5_0,
        StorageType::Q5_1 => GgmlDType::Q5_1,
        StorageType::Q8_0 => GgmlDType::Q8_0,
        StorageType::Q2_K => GgmlDType::Q2K,
        StorageType::Q3_K => GgmlDType::Q3K,
        StorageType::Q4_K => GgmlDType::Q4K,
        StorageType::Q5_K => GgmlDType::Q5K,
        StorageType::Q6_K => GgmlDType::Q6K,
        StorageType::F32 | StorageType::F16 | StorageType::BF16 | StorageType::IQ4_NL => {
            return None;
        }
    })
}

fn candle_blocks(
    storage: StorageType,
    dtype: GgmlDType,
    data: &[u8],
    values: &mut Vec<f32>,
) -> Result<()> {
    // Candle reads blocks in place as structs that begin with, or hold, 16-bit floats.
    const ALIGNMENT: usize = align_of::<f16>();
    let mut buffer = Vec::new();
    for blocks in data.chunks(BLOCKS_AT_ONCE * storage.block_bytes()) {
        let elements = blocks.len() / storage.block_bytes() * storage.block_elements();
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

fn own_types(storage: StorageType, data: &[u8], values: &mut Vec<f32>) {
    let halves = data.as_chunks().0.iter().copied();
    match storage {
        StorageType::F32 => {
            let words = data.as_chunks().0.iter().copied();
            values.extend(words.map(f32::from_le_bytes));
        }
        StorageType::F16 => {
            values.extend(halves.map(|bytes| f16::from_le_bytes(bytes).to_f32()));
        }
        StorageType::BF16 => {
            values.extend(halves.map(|bytes| bf16::from_le_bytes(bytes).to_f32()));
        }
        _ => {
            for &[low, high, ref quants @ ..] in data.as_chunks::<18>().0 {
                let scale = f16::from_le_bytes([low, high]).to_f32();
                let level = |index: u8| scale * f32::from(IQ4_NL_LEVELS[usize::from(index & 15)]);
                // The low nibbles are the first half of the block.
                values.extend(quants.iter().map(|quant| level(*quant)));
                values.extend(quants.iter().map(|quant| level(quant >> 4)));
            }
        }
    }
}
