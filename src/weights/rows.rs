//! A table of which single rows are read when they are needed: it lies in its file, not in memory.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::mapped::MappedFile;
use super::{StorageType, StoredTensor, dequantize};
use crate::error::{Error, Result};

/// A matrix that stays as it is stored.
pub struct StoredRows {
    storage: StorageType,
    rows: usize,
    columns: usize,
    row_bytes: usize,
    bytes: Bytes,
}

enum Bytes {
    Mapped(Arc<MappedFile>, Range<usize>),
    Owned(Vec<u8>),
}

impl StoredRows {
    /// A matrix in a mapped file; `None` if it is no matrix.
    pub(super) fn mapped(
        file: Arc<MappedFile>,
        bytes: Range<usize>,
        storage: StorageType,
        shape: &[usize],
    ) -> Option<Self> {
        Self::new(storage, shape, Bytes::Mapped(file, bytes))
    }

    /// A copy of a matrix; `None` if it is no matrix.
    pub fn owned(tensor: &StoredTensor<'_>) -> Option<Self> {
        let bytes = Bytes::Owned(tensor.data.to_vec());
        Self::new(tensor.storage, &tensor.shape, bytes)
    }

    fn new(storage: StorageType, shape: &[usize], bytes: Bytes) -> Option<Self> {
        let [rows, columns] = *shape else {
            return None;
        };
        Some(Self {
            storage,
            rows,
            columns,
            row_bytes: storage.bytes(columns)?,
            bytes,
        })
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// The values of a row.
    pub fn row(&self, row: usize) -> Result<Vec<f32>> {
        let bytes = match &self.bytes {
            Bytes::Mapped(file, range) => file.bytes().get(range.clone()),
            Bytes::Owned(bytes) => Some(bytes.as_slice()),
        };
        let start = row.saturating_mul(self.row_bytes);
        let range = start..start.saturating_add(self.row_bytes);
        let Some(bytes) = bytes.and_then(|bytes| bytes.get(range)) else {
            let reason = format!("row {row} of a table of {}", self.rows);
            return Err(Error::Compute(reason));
        };
        Ok(dequantize(&StoredTensor {
            storage: self.storage,
            shape: vec![1, self.columns],
            data: Cow::Borrowed(bytes),
        })?)
    }
}
