//! Weights converted on loading: quantized, or to 16-bit floats.

use std::borrow::Cow;

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::{StorageType, StoredTensor, dequantize};

/// A tensor in 16-bit floats, or in another block format, one of [`StorageType::quantizable`], whose blocks its rows must fill.
///
/// Candle's quantizer computes the blocks.
pub fn quantize(tensor: &StoredTensor<'_>, format: StorageType) -> Result<StoredTensor<'static>> {
    let floats: Option<fn(f32) -> [u8; 2]> = match format {
        StorageType::F16 => Some(|value| half::f16::from_f32(value).to_le_bytes()),
        StorageType::BF16 => Some(|value| half::bf16::from_f32(value).to_le_bytes()),
        _ => None,
    };
    if let Some(convert) = floats {
        let values = dequantize(tensor)?;
        let bytes: Vec<u8> = values.into_iter().flat_map(convert).collect();
        return Ok(StoredTensor {
            storage: format,
            shape: tensor.shape.clone(),
            data: bytes.into(),
        });
    }
    let candle_type = format.format().candle;
    let candle_type = candle_type.ok_or_else(|| StorageType::not_quantizable(format.name()))?;
    let values = dequantize(tensor)?;
    let values = Tensor::from_vec(values, tensor.shape.as_slice(), &Device::Cpu)?;
    let quantized = QTensor::quantize(&values, candle_type)?;
    Ok(StoredTensor {
        storage: format,
        shape: tensor.shape.clone(),
        data: Cow::Owned(quantized.data()?.into_owned()),
    })
}
