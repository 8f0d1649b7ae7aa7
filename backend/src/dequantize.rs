//! Stored tensors as 32-bit floats.

use crate::error::{Error, Result};
use crate::{StorageType, StoredTensor};

/// The elements of a tensor as `f32`, in the order of its shape.
///
/// Values are exactly ggml's. Fails where the data are not of the size that shape and type ask for.
pub fn dequantize(tensor: &StoredTensor<'_>) -> Result<Vec<f32>> {
    let StoredTensor {
        storage,
        shape,
        data,
    } = tensor;
    let elements = tensor.elements();
    let expected = elements.and_then(|elements| storage.bytes(elements));
    let (Some(elements), true) = (elements, expected == Some(data.len())) else {
        let expected =
            expected.map_or("a whole number of blocks".into(), |bytes| bytes.to_string());
        return Err(Error::Compute(format!(
            "a tensor of shape {shape:?} in {storage}: expected {expected} bytes, found {}",
            data.len()
        )));
    };
    let mut values = Vec::with_capacity(elements);
    storage.format().decode(data, &mut values);
    Ok(values)
}

impl StoredTensor<'_> {
    /// The same tensor in f32.
    pub fn widened(&self) -> Result<StoredTensor<'static>> {
        let values = dequantize(self)?.into_iter();
        Ok(StoredTensor {
            storage: StorageType::F32,
            shape: self.shape.clone(),
            data: values.flat_map(f32::to_le_bytes).collect(),
        })
    }
}
