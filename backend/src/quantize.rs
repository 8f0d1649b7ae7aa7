//! Weights quantized on loading.

use std::borrow::Cow;

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::{StorageType, StoredTensor, dequantize};

/// A tensor in another block format, one of [`StorageType::quantizable`], whose blocks its rows must fill.
///
/// Candle's quantizer computes the blocks.
pub fn quantize(tensor: &StoredTensor<'_>, format: StorageType) -> Result<StoredTensor<'static>> {
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
