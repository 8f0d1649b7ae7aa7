//! Tensors as they are stored.

use std::borrow::Cow;

use crate::error::Result;
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
