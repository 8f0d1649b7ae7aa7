//! Tensors of MXFP4 in two parts, as gpt-oss's checkpoints hold them.

use super::super::{StorageType, StoredTensor};
use crate::error::{Error, Result};

/// Columns of a block, and the bytes that hold them.
const COLUMNS: usize = 32;
const BYTES: usize = COLUMNS / 2;

/// Matrices of 4-bit floats, and a power of two for every 32 columns (`NAME_blocks` and `NAME_scales`).
pub struct Mxfp4<'a> {
    /// `[matrices, rows, columns]`
    pub shape: Vec<usize>,
    /// Byte `j` of a block holds column `2 j` in its lower half, and `2 j + 1` in its upper.
    blocks: &'a [u8],
    scales: &'a [u8],
}

impl<'a> Mxfp4<'a> {
    /// Of blocks `[matrices, rows, n, 16]` and scales `[matrices, rows, n]`; `None` if their shapes are others.
    pub(in crate::weights) fn new(
        (blocks, shape): (&'a [u8], &[usize]),
        (scales, of_scales): (&'a [u8], &[usize]),
    ) -> Option<Self> {
        match *shape {
            [matrices, rows, count, BYTES] if of_scales == [matrices, rows, count] => Some(Self {
                shape: vec![matrices, rows, count.checked_mul(COLUMNS)?],
                blocks,
                scales,
            }),
            _ => None,
        }
    }

    /// One of the matrices, in GGUF's blocks of the format; `None`: there are fewer.
    pub fn matrix(&self, index: usize) -> Option<StoredTensor<'static>> {
        let [matrices, rows, columns] = self.shape[..] else {
            return None;
        };
        let count = rows.checked_mul(columns)? / COLUMNS;
        let start = index.checked_mul(count)?;
        let own = start..start.checked_add(count)?;
        let scales = self.scales.get(own.clone()).filter(|_| index < matrices)?;
        let (blocks, _) = self.blocks.as_chunks::<BYTES>();
        let mut data = Vec::with_capacity(count * (1 + BYTES));
        for (scale, block) in scales.iter().zip(blocks.get(own)?) {
            data.push(*scale);
            let column = |column: usize| block[column / 2] >> (4 * (column % 2)) & 15;
            data.extend((0..BYTES).map(|first| column(first) | column(first + BYTES) << 4));
        }
        Some(StoredTensor {
            storage: StorageType::MXFP4,
            shape: vec![rows, columns],
            data: data.into(),
        })
    }

    /// All matrices, one below the other.
    pub(super) fn joined(&self) -> Result<StoredTensor<'static>> {
        let matrices = self.shape.first().copied().unwrap_or(0);
        let mut data = Vec::with_capacity(self.bytes());
        for index in 0..matrices {
            let matrix = self.matrix(index);
            let matrix =
                matrix.ok_or_else(|| Error::Compute(format!("there is no matrix {index}")))?;
            data.extend_from_slice(&matrix.data);
        }
        Ok(StoredTensor {
            storage: StorageType::MXFP4,
            shape: self.shape.clone(),
            data: data.into(),
        })
    }

    /// Bytes in the file.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() + self.scales.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::dequantize;

    #[test]
    fn columns_lie_in_pairs() {
        let mut blocks = vec![0; 2 * BYTES];
        // Columns 0 to 3 of the second matrix: 0.5, -0.5, 6, 1.
        blocks[BYTES] = 0x91;
        blocks[BYTES + 1] = 0x27;
        let packed = Mxfp4::new((&blocks, &[2, 1, 1, BYTES]), (&[127, 128], &[2, 1, 1]));
        let packed = packed.unwrap();
        let values = dequantize(&packed.matrix(1).unwrap()).unwrap();
        assert_eq!(values[..5], [1.0, -1.0, 12.0, 2.0, 0.0]);
        assert!(packed.matrix(2).is_none());
        assert!(Mxfp4::new((&blocks, &[2, 1, BYTES]), (&[127, 128], &[2, 1, 1])).is_none());
    }
}
