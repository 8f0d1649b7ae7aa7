//! Weights: the tensors in model files.

use std::borrow::Cow;

mod dequantize;
pub mod gguf;
mod mapped;
mod quantize;
pub mod safetensors;

pub use dequantize::dequantize;
pub(crate) use dequantize::ggml_type;
pub use quantize::quantize;

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

impl StorageType {
    /// Every storage type.
    pub const ALL: [Self; 14] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
    ];

    /// The type's name, as ggml writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2_K => "Q2_K",
            Self::Q3_K => "Q3_K",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::IQ4_NL => "IQ4_NL",
        }
    }

    /// Elements in a block; 1 for plain floats.
    pub fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::IQ4_NL => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes that a block takes.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            // A 16-bit scale, then 32 quants of 4, 5 or 8 bits; the `_1` types add a 16-bit minimum.
            Self::Q4_0 | Self::IQ4_NL => 2 + 16,
            Self::Q4_1 => 4 + 16,
            Self::Q5_0 => 2 + 20,
            Self::Q5_1 => 4 + 20,
            Self::Q8_0 => 2 + 32,
            // 256 quants, the scales of their sub-blocks, and one or two 16-bit scales over those.
            Self::Q2_K => 64 + 16 + 4,
            Self::Q3_K => 96 + 12 + 2,
            Self::Q4_K => 128 + 12 + 4,
            Self::Q5_K => 160 + 12 + 4,
            Self::Q6_K => 192 + 16 + 2,
        }
    }

    /// Bytes that so many elements take; `None` if they do not fill whole blocks.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_elements()) {
            return None;
        }
        (elements / self.block_elements()).checked_mul(self.block_bytes())
    }
}

impl std::fmt::Display for StorageType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
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

/// A checkpoint's tensors by the names that its own format gives them.
pub trait Checkpoint: Send + Sync {
    /// Every tensor's name, in the file's order.
    fn names(&self) -> Vec<&str>;
    /// The tensor of that name, if there is one.
    fn tensor(&self, name: &str) -> Option<StoredTensor<'_>>;
    /// Says that a tensor's data were used: they need not stay in memory.
    fn release(&self, tensor: &StoredTensor<'_>);
    /// The file that holds the tensor (for error messages).
    fn file_of(&self, name: &str) -> &std::path::Path;
}
