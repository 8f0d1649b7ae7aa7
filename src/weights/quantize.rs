//! Weights packed on loading.

use std::borrow::Cow;

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};

use super::{StorageType, StoredTensor, dequantize, ggml_type};
use crate::error::{Error, Result};

/// A tensor in another block format, whose blocks its rows must fill.
pub fn quantize(tensor: &StoredTensor<'_>, format: StorageType) -> Result<StoredTensor<'static>> {
    let blocks = ggml_type(format).ok_or_else(|| {
        let expected = "q4_0, q4_1, q5_0, q5_1, q8_0 or q2_k to q6_k";
        Error::invalid("quantize", format, expected)
    })?;
    let values = dequantize(tensor)?;
    let values = Tensor::from_vec(values, tensor.shape.as_slice(), &Device::Cpu)?;
    let quantized = QTensor::quantize(&values, blocks)?;
    Ok(StoredTensor {
        storage: format,
        shape: tensor.shape.clone(),
        data: Cow::Owned(quantized.data()?.into_owned()),
    })
}
