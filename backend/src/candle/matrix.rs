//! Weight matrices as Candle holds them, and products with them.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Tensor};

use super::{CandleBackend, ROW_BY_ROW};
use crate::error::Result;
use crate::{StorageType, StoredTensor, dequantize};

/// A weight matrix.
pub struct Matrix(Held);

/// How a matrix is held.
enum Held {
    /// Blocks that Candle's quantized kernels read (of the reference, floats too).
    Blocks(Arc<QTensor>),
    /// Floats as they are stored.
    Dense(Tensor),
}

impl Matrix {
    /// Rows of a table, in the type that they are held in; blocks are decoded to f32.
    pub(super) fn rows(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        match &self.0 {
            Held::Blocks(blocks) => blocks.embedding(ids),
            Held::Dense(dense) => dense.index_select(ids, 0),
        }
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> usize {
        match &self.0 {
            Held::Blocks(blocks) => blocks.storage_size_in_bytes(),
            Held::Dense(dense) => dense.elem_count() * dense.dtype().size_in_bytes(),
        }
    }

    /// The type that it is held in.
    pub(super) fn storage(&self) -> StorageType {
        let mut stored = StorageType::ALL.into_iter();
        let found = stored.find(|storage| match &self.0 {
            Held::Blocks(blocks) => storage.format().candle == Some(blocks.dtype()),
            Held::Dense(dense) => float(*storage) == Some(dense.dtype()),
        });
        found.unwrap_or(StorageType::F32)
    }
}

impl CandleBackend {
    /// Values that no weight is stored as: in the reference f32, elsewhere the type that is computed in.
    pub(super) fn float_matrix(&self, values: Vec<f32>, shape: &[usize]) -> Result<Matrix> {
        if self.is_reference() {
            let storage = QStorage::Cpu(Box::new(values));
            return Ok(Matrix(Held::Blocks(Arc::new(QTensor::new(
                storage, shape,
            )?))));
        }
        let tensor = Tensor::from_vec(values, shape, &self.device)?;
        Ok(Matrix(Held::Dense(tensor.to_dtype(self.compute)?)))
    }

    /// Values that are held in f32, whatever is computed in.
    pub(super) fn exact(&self, values: Vec<f32>, shape: &[usize]) -> Result<Matrix> {
        match self.is_reference() {
            true => self.float_matrix(values, shape),
            false => Ok(Matrix(Held::Dense(Tensor::from_vec(
                values,
                shape,
                &self.device,
            )?))),
        }
    }

    /// As stored; formats that Candle lacks are widened.
    pub(super) fn stored_matrix(&self, tensor: &StoredTensor<'_>) -> Result<Matrix> {
        if let Some(dtype) = float(tensor.storage)
            && !self.is_reference()
        {
            let shape = tensor.shape.as_slice();
            let stored = Tensor::from_raw_buffer(&tensor.data, dtype, shape, &self.device)?;
            // The other 16-bit type may be one that the device lacks.
            let held = match dtype {
                DType::F32 => dtype,
                _ => self.compute,
            };
            return Ok(Matrix(Held::Dense(stored.to_dtype(held)?)));
        }
        let Some(blocks) = tensor.storage.format().candle else {
            return self.float_matrix(dequantize(tensor)?, &tensor.shape);
        };
        let data = std::borrow::Cow::Borrowed(&*tensor.data);
        let storage = QStorage::from_data(data, &self.device, blocks)?;
        let tensor = QTensor::new(storage, tensor.shape.as_slice())?;
        Ok(Matrix(Held::Blocks(Arc::new(tensor))))
    }

    /// [`Self::product`], in the type that is computed in.
    pub(super) fn matmul(&self, x: &Tensor, matrix: &Matrix) -> Result<Tensor> {
        let held = match &matrix.0 {
            Held::Dense(dense) => dense.dtype(),
            Held::Blocks(_) => DType::F32,
        };
        let product = self.product(&x.to_dtype(held)?, matrix)?;
        Ok(product.to_dtype(self.compute)?)
    }

    /// `x * matrix^T`, in the reference in such chunks that a row's result is that of the row alone.
    fn product(&self, x: &Tensor, matrix: &Matrix) -> Result<Tensor> {
        let blocks = match &matrix.0 {
            Held::Dense(dense) => return Ok(x.matmul(&dense.t()?)?),
            Held::Blocks(blocks) => blocks,
        };
        let rows = x.dim(0)?;
        if self.is_reference() && rows > ROW_BY_ROW {
            // For many rows, dequantizing the weights and one dense product take a tenth of the time.
            let dense = blocks.dequantize(&self.device)?;
            return Ok(x.matmul(&dense.t()?)?);
        }
        let product = QMatMul::QTensor(blocks.clone());
        // f32 blocks are multiplied row by row in any case; for quantized ones, several rows take another path.
        let row_by_row = rows == 1 || blocks.dtype() == GgmlDType::F32;
        if row_by_row || !self.is_reference() {
            return Ok(product.forward(x)?);
        }
        let outputs = (0..rows)
            .map(|row| product.forward(&x.narrow(0, row, 1)?))
            .collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&outputs, 0)?)
    }
}

/// Candle's type of floats that are stored as such.
fn float(storage: StorageType) -> Option<DType> {
    match storage {
        StorageType::F32 => Some(DType::F32),
        StorageType::F16 => Some(DType::F16),
        StorageType::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// The 16-bit type that an accelerator computes in: f16 for weights stored as such, unless the model's activations exceed its range
/// (`wide_range`); else bf16, or f16 where the device lacks bf16.
pub fn half_precision(device: &Device, stored: StorageType, wide_range: bool) -> DType {
    let computes = |dtype| Tensor::ones((2, 2), dtype, device).and_then(|ones| ones.matmul(&ones));
    let keeps = stored == StorageType::F16 && !wide_range;
    match !keeps && computes(DType::BF16).is_ok() {
        true => DType::BF16,
        false => DType::F16,
    }
}
