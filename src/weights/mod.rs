//! Weights: where they come from, and the tensors in their files.

use std::borrow::Cow;

pub mod gguf;
pub mod locate;
pub mod safetensors;

/// How a tensor's elements are stored in its file.
///
/// Block formats are those of ggml (`ggml-common.h`); a row's length is a multiple of the block's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)]
pub enum StorageType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
}

/// A tensor as it lies in its file: a view, never a copy, where the file is mapped.
#[derive(Debug, Clone)]
pub struct StoredTensor<'a> {
    /// Element or block type.
    pub storage: StorageType,
    /// Dimensions, outermost first: a linear layer's weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// The elements, rows contiguous, little endian.
    pub data: Cow<'a, [u8]>,
}

/// A checkpoint's tensors by the names that its own format gives them.
pub trait Checkpoint: Send + Sync {
    /// Every tensor's name, in the file's order.
    fn names(&self) -> Vec<&str>;
    /// The tensor of that name, if there is one.
    fn tensor(&self, name: &str) -> Option<StoredTensor<'_>>;
    /// The file that holds the tensor (for error messages).
    fn file_of(&self, name: &str) -> &std::path::Path;
}
