//! Weights: the tensors in model files.

mod adapter;
pub mod gguf;
mod mapped;
mod packed;
mod pickled;
mod rows;
pub mod safetensors;

pub(crate) use adapter::is_adapter;
pub use adapter::{AdaptedCheckpoint, Adapter, Layout};
pub(crate) use mapped::MappedFile;
pub use packed::{Mxfp4, PackedTensor};
pub use rows::StoredRows;
pub use specdec_backend::{MatrixSource, StorageType, StoredTensor, dequantize, quantize};

use crate::error::Result;

/// A checkpoint's tensors, by their names in its own format.
pub trait Checkpoint: Send + Sync {
    /// Every tensor's name, in the file's order.
    fn names(&self) -> Vec<&str>;
    /// The tensor of that name, if there is one.
    fn tensor(&self, name: &str) -> Option<StoredTensor<'_>>;
    /// The names of tensors in several parts.
    fn packed_names(&self) -> Vec<String> {
        Vec::new()
    }
    /// The tensor of that name, if there is one in several parts.
    fn packed(&self, name: &str) -> Option<PackedTensor<'_>> {
        let _ = name;
        None
    }
    /// The values of a tensor of integers, if there is one of that name.
    fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let _ = name;
        Ok(None)
    }
    /// A matrix whose rows are read one by one, when they are needed.
    fn rows(&self, name: &str) -> Option<StoredRows> {
        StoredRows::owned(&self.tensor(name)?)
    }
    /// Where a tensor that this returned, or rows of it, is read again without the checkpoint; `None` if the data are a copy.
    fn source(&self, tensor: &StoredTensor<'_>) -> Option<Box<dyn MatrixSource>> {
        let _ = tensor;
        None
    }
    /// Tells that a tensor's data were used: they need not stay in memory.
    fn release(&self, tensor: &StoredTensor<'_>);
    /// All files that hold tensors, each as it was when it was opened; none if they are in memory alone.
    fn files(&self) -> Vec<(&std::path::Path, &std::fs::Metadata)> {
        Vec::new()
    }
    /// The file that holds the tensor (for error messages).
    fn file_of(&self, name: &str) -> &std::path::Path;
}
