//! Weights: the tensors in model files.

pub mod gguf;
mod mapped;
pub mod safetensors;

pub use specdec_backend::{StorageType, StoredTensor, dequantize, quantize};

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
