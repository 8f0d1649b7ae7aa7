//! Tensors as they are stored.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::formats::StorageType;

/// A tensor as stored in its file: a view, never a copy, if the file is mapped.
#[derive(Debug, Clone)]
pub struct StoredTensor<'a> {
    /// Element or block type.
    pub storage: StorageType,
    /// Dimensions, outermost first: a linear layer's weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// The elements, rows contiguous, little endian.
    pub data: Cow<'a, [u8]>,
}

impl StoredTensor<'_> {
    /// The number of elements, by the shape; `None` if it overflows.
    pub fn elements(&self) -> Option<usize> {
        elements(&self.shape)
    }

    /// Some columns of a matrix; widened if they divide its blocks.
    pub fn columns(&self, columns: Range<usize>) -> Result<StoredTensor<'_>> {
        if let [_, width] = *self.shape
            && columns == (0..width)
        {
            return Ok(self.clone());
        }
        let part = self
            .whole_blocks(&columns)
            .or_else(|| self.widened().ok()?.whole_blocks(&columns));
        part.ok_or_else(|| {
            let shape = &self.shape;
            Error::Compute(format!(
                "no columns {columns:?} of a tensor of shape {shape:?}"
            ))
        })
    }

    /// Some columns of a matrix; `None` if it is no matrix, lacks them, or has blocks that they divide.
    fn whole_blocks(&self, columns: &Range<usize>) -> Option<StoredTensor<'static>> {
        let &[rows, width] = self.shape.as_slice() else {
            return None;
        };
        let bytes_of = |elements| self.storage.bytes(elements);
        let own = bytes_of(columns.start)?..bytes_of(columns.end)?;
        if columns.start >= columns.end || columns.end > width {
            return None;
        }
        let rows_of_matrix = self.data.chunks(bytes_of(width)?);
        let parts: Vec<&[u8]> = rows_of_matrix
            .map(|row| row.get(own.clone()))
            .collect::<Option<_>>()?;
        Some(StoredTensor {
            storage: self.storage,
            shape: vec![rows, columns.len()],
            data: parts.concat().into(),
        })
    }
}

/// Where a matrix is read from, whenever it is needed.
pub trait MatrixSource: Send + Sync {
    /// The matrix as it is stored.
    fn tensor(&self) -> Result<StoredTensor<'_>>;
    /// Fails if what was read before may have changed meanwhile.
    fn check(&self) -> Result<()>;
    /// Tells that its data were used: they need not stay in memory.
    fn release(&self);
}

/// The number of elements of a shape; `None` if it overflows.
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &dimension| {
        product.checked_mul(dimension)
    })
}
