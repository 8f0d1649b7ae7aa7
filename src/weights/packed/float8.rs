//! Matrices of 8-bit floats (E4M3), with scales of blocks, of rows, or of the whole.

use super::super::{StorageType, StoredTensor};
use crate::error::{Error, Result};

/// Inputs of a block as it is held.
const BLOCK: usize = 32;

/// What numbers are multiplied with.
pub(in crate::weights) enum Scales {
    /// All with the same.
    Whole(f32),
    /// Those of a row.
    Rows(Vec<f32>),
    /// Those of a block: scales, row by row, and the blocks' rows and columns.
    Blocks(Vec<f32>, [usize; 2]),
}

/// 8-bit floats, and what they are multiplied with.
pub struct Float8<'a> {
    shape: [usize; 2],
    bytes: &'a [u8],
    scales: Scales,
}

impl<'a> Float8<'a> {
    /// Of floats `[out, in]`; `None` if the scales don't fit.
    pub(in crate::weights) fn new(
        bytes: &'a [u8],
        shape: &[usize],
        scales: Scales,
    ) -> Option<Self> {
        let [outputs, inputs] = *shape else {
            return None;
        };
        let fits = match &scales {
            Scales::Whole(_) => true,
            Scales::Rows(scales) => scales.len() == outputs,
            Scales::Blocks(scales, [rows, columns]) => {
                let [rows, columns] = [(outputs, *rows), (inputs, *columns)]
                    .map(|(size, block)| size.div_ceil(block.max(1)));
                scales.len() == rows * columns
            }
        };
        let in_blocks = match &scales {
            Scales::Blocks(_, [rows, columns]) => *rows > 0 && columns.is_multiple_of(BLOCK),
            Scales::Whole(_) | Scales::Rows(_) => true,
        };
        let whole = inputs.is_multiple_of(BLOCK) && bytes.len() == outputs.checked_mul(inputs)?;
        (fits && in_blocks && whole).then_some(Self {
            shape: [outputs, inputs],
            bytes,
            scales,
        })
    }

    /// Outputs and inputs.
    pub(super) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The tensor in one.
    pub(super) fn joined(&self) -> Result<StoredTensor<'static>> {
        let [outputs, inputs] = self.shape;
        let mut data = Vec::with_capacity(outputs * inputs / BLOCK * (BLOCK + 4));
        for (output, row) in self.bytes.chunks_exact(inputs.max(1)).enumerate() {
            for (index, block) in row.chunks_exact(BLOCK).enumerate() {
                let scale = self.scale(output, index * BLOCK);
                let scale = scale
                    .ok_or_else(|| Error::Compute("a matrix of floats lacks scales".into()))?;
                data.extend(scale.to_le_bytes());
                data.extend(block);
            }
        }
        Ok(StoredTensor {
            storage: StorageType::F8_E4M3,
            shape: self.shape.to_vec(),
            data: data.into(),
        })
    }

    fn scale(&self, output: usize, input: usize) -> Option<f32> {
        match &self.scales {
            Scales::Whole(scale) => Some(*scale),
            Scales::Rows(scales) => scales.get(output).copied(),
            Scales::Blocks(scales, [rows, columns]) => {
                let across = self.shape[1].div_ceil(*columns);
                let index = output / rows * across + input / columns;
                scales.get(index).copied()
            }
        }
    }
}
