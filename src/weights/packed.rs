//! Tensors that checkpoints hold in several parts: quantized numbers, scales, zero points. They become one tensor, of blocks that
//! have their scales with them.

mod float8;
mod int4;
mod mxfp4;

pub(super) use float8::{Float8, Scales};
pub(super) use int4::{Int4, Packing};
pub use mxfp4::Mxfp4;

use super::adapter::Merged;
use super::{StorageType, StoredTensor};
use crate::error::Result;

/// A tensor in several parts.
pub enum PackedTensor<'a> {
    /// gpt-oss's experts: 4-bit floats, and powers of two.
    Mxfp4(Mxfp4<'a>),
    /// 4-bit integers, with scales and zero points of groups of inputs (GPTQ, AWQ).
    Int4(Int4<'a>),
    /// 8-bit floats with scales of blocks, of rows, or of the whole.
    Float8(Float8<'a>),
    /// `NVFP4` with a scale of the whole, or of each matrix.
    Scaled(StoredTensor<'a>, Vec<f32>),
    /// A base model's, and what adapters change of it.
    Merged(Merged<'a>),
}

impl PackedTensor<'_> {
    /// Outermost dimension first.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Mxfp4(packed) => packed.shape.clone(),
            Self::Int4(packed) => packed.shape().to_vec(),
            Self::Float8(packed) => packed.shape().to_vec(),
            Self::Scaled(tensor, _) => tensor.shape.clone(),
            Self::Merged(merged) => merged.shape(),
        }
    }

    /// The tensor in one; those of experts are read one by one.
    pub fn joined(&self) -> Result<StoredTensor<'static>> {
        match self {
            Self::Mxfp4(packed) => packed.joined(),
            Self::Int4(packed) => packed.joined(),
            Self::Float8(packed) => packed.joined(),
            Self::Scaled(tensor, scales) => Ok(scaled(tensor, scales)),
            Self::Merged(merged) => merged.joined(),
        }
    }

    /// A description without the data, of as many bytes as the tensor takes.
    pub fn described(&self) -> StoredTensor<'static> {
        let storage = match self {
            Self::Mxfp4(_) => StorageType::MXFP4,
            Self::Int4(packed) => packed.storage(),
            Self::Float8(_) => StorageType::F8_E4M3,
            Self::Scaled(..) => StorageType::NVFP4_S,
            Self::Merged(merged) => merged.storage(),
        };
        StoredTensor {
            storage,
            shape: self.shape(),
            data: Vec::new().into(),
        }
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Mxfp4(packed) => packed.bytes(),
            Self::Int4(packed) => packed.bytes(),
            Self::Float8(packed) => packed.bytes(),
            Self::Scaled(tensor, _) => tensor.data.len(),
            Self::Merged(merged) => merged.bytes(),
        }
    }
}

/// Blocks of `NVFP4`, each with the scale of the whole, or of its matrix, before it.
fn scaled(tensor: &StoredTensor<'_>, scales: &[f32]) -> StoredTensor<'static> {
    let block = StorageType::NVFP4.block_bytes();
    let mut data = Vec::with_capacity(tensor.data.len() / block * (block + 4));
    let matrix = tensor.data.len() / scales.len().max(1);
    for (matrix, scale) in tensor.data.chunks(matrix.max(1)).zip(scales) {
        for block in matrix.chunks_exact(block) {
            data.extend(scale.to_le_bytes());
            data.extend(block);
        }
    }
    StoredTensor {
        storage: StorageType::NVFP4_S,
        shape: tensor.shape.clone(),
        data: data.into(),
    }
}
