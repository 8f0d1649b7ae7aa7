//! Weights: the tensors in model files.

use std::borrow::Cow;

mod dequantize;
pub(crate) mod formats;
pub mod gguf;
mod mapped;
mod quantize;
pub mod safetensors;

pub use dequantize::dequantize;
pub use formats::StorageType;
pub use quantize::quantize;

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

/// The number of elements of a shape; `None` if it overflows.
fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &dimension| {
        product.checked_mul(dimension)
    })
}

/// A checkpoint's tensors, by their names in its own format.
pub trait Checkpoint: Send + Sync {
    /// Every tensor's name, in the file's order.
    fn names(&self) -> Vec<&str>;
    /// The tensor of that name, if there is one.
    fn tensor(&self, name: &str) -> Option<StoredTensor<'_>>;
    /// Tells that a tensor's data were used: they need not stay in memory.
    fn release(&self, tensor: &StoredTensor<'_>);
    /// The file that holds the tensor (for error messages).
    fn file_of(&self, name: &str) -> &std::path::Path;
}
