//! How weights, keys and values are held in memory.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::{StorageType, StoredTensor};

/// How weights are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightPrecision {
    /// As stored.
    #[default]
    Stored,
    /// Everything as f32.
    F32,
    /// Converted on loading to this format, 16-bit floats or blocks, where a row's length allows it.
    Quantized(StorageType),
}

impl WeightPrecision {
    /// How a matrix will be held.
    pub fn held(self, tensor: &StoredTensor<'_>) -> StorageType {
        let row = tensor.shape.last().copied().unwrap_or(0);
        match self {
            Self::Stored => tensor.storage,
            Self::Quantized(wanted) if row.is_multiple_of(wanted.block_elements()) => wanted,
            Self::F32 | Self::Quantized(_) => StorageType::F32,
        }
    }

    /// The precision that a `dtype` (`f32`, `f16`, `bf16`) and a `quantize` (`q8_0`, ...) setting ask for.
    pub fn from_names(dtype: Option<&str>, quantize: Option<&str>) -> Result<Self> {
        match (dtype, quantize) {
            (None | Some("auto"), None) => Ok(Self::Stored),
            (Some("f32" | "fp32" | "float32" | "float"), None) => Ok(Self::F32),
            (Some("f16" | "fp16" | "float16" | "half"), None) => {
                Ok(Self::Quantized(StorageType::F16))
            }
            (Some("bf16" | "bfloat16"), None) => Ok(Self::Quantized(StorageType::BF16)),
            (Some(other), None) => Err(Error::invalid("dtype", other, "auto, f32, f16 or bf16")),
            (_, Some(format)) => StorageType::parse_quantizable(format).map(Self::Quantized),
        }
    }
}

/// How keys and values are held in memory; Candle's backend holds them in the type that it computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CachePrecision {
    /// Chosen by the model: on the CPU f32 with unquantized weights, else 16 bits; on accelerators the type that they compute in.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// Eight bits, with a scale for each head's key and value at each position.
    Q8_0,
}

impl CachePrecision {
    /// Bytes of a head's key, or value, of so many elements.
    pub fn bytes(self, elements: usize) -> usize {
        match self {
            Self::F32 => 4 * elements,
            Self::Auto | Self::F16 => 2 * elements,
            Self::Q8_0 => elements + 4,
        }
    }
}

impl FromStr for CachePrecision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "f32" | "fp32" | "float32" => Ok(Self::F32),
            "f16" | "fp16" | "float16" | "half" => Ok(Self::F16),
            "q8_0" => Ok(Self::Q8_0),
            other => Err(Error::invalid(
                "kv_cache_dtype",
                other,
                "auto, f32, f16 or q8_0",
            )),
        }
    }
}
