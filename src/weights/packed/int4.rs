//! Matrices of 4-bit integers, with scales and zero points of groups of inputs: GPTQ (Frantar et al., 2210.17323) and AWQ (Lin
//! et al., 2306.00978), as `AutoGPTQ` and `AutoAWQ` write them.

use super::super::{StorageType, StoredTensor};
use crate::error::{Error, Result};

/// Inputs of a block.
const BLOCK: usize = 32;

/// How eight numbers lie in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::weights) enum Packing {
    /// GPTQ's: eight inputs of one output, `[in / 8, out]`; zero points are stored less this.
    Inputs {
        /// 1, or 0 in files of version 2.
        less: i32,
    },
    /// AWQ's: eight outputs of one input, `[in, out / 8]`, in an order of their own.
    Outputs,
}

/// Where AWQ keeps each of eight outputs.
const PLACES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// Integers, and what they are multiplied with.
pub struct Int4<'a> {
    packing: Packing,
    /// Words.
    quants: &'a [u8],
    /// `[groups, out / 8]`, words.
    zeros: &'a [u8],
    /// `[groups, out]`
    scales: Vec<f32>,
    /// The group of each input, where inputs are not grouped in their order.
    groups: Option<Vec<usize>>,
    inputs: usize,
    outputs: usize,
    group_size: usize,
}

impl<'a> Int4<'a> {
    /// Of words of numbers and of zero points, and scales `[groups, out]`, for so many inputs; `None` if their sizes don't fit.
    pub(in crate::weights) fn new(
        packing: Packing,
        inputs: usize,
        (quants, zeros): (&'a [u8], &'a [u8]),
        scales: (Vec<f32>, usize),
        groups: Option<Vec<usize>>,
    ) -> Option<Self> {
        let (scales, outputs) = scales;
        let count = scales.len().checked_div(outputs)?;
        let group_size = inputs.checked_div(count).filter(|size| *size > 0)?;
        let numbers = inputs.checked_mul(outputs)?;
        let fits = inputs.is_multiple_of(BLOCK)
            && outputs.is_multiple_of(8)
            && inputs == group_size * count
            && quants.len() == numbers / 2
            && zeros.len() == count * outputs / 2
            && groups.as_ref().is_none_or(|groups| {
                groups.len() == inputs && groups.iter().all(|group| *group < count)
            });
        let in_order = |groups: &Vec<usize>| {
            let mut inputs = groups.iter().enumerate();
            inputs.all(|(input, group)| *group == input / group_size)
        };
        fits.then_some(Self {
            packing,
            quants,
            zeros,
            scales,
            groups: groups.filter(|groups| !in_order(groups)),
            inputs,
            outputs,
            group_size,
        })
    }

    /// Outputs and inputs.
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.outputs, self.inputs]
    }

    /// How it is held: differently where the numbers of a block have different scales.
    pub(super) fn storage(&self) -> StorageType {
        match self.is_in_blocks() {
            true => StorageType::INT4,
            false => StorageType::INT4_G,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.quants.len() + self.zeros.len() + 2 * self.scales.len()
    }

    fn is_in_blocks(&self) -> bool {
        self.groups.is_none() && self.group_size.is_multiple_of(BLOCK)
    }

    /// The tensor in one.
    pub(super) fn joined(&self) -> Result<StoredTensor<'static>> {
        let data = match self.is_in_blocks() {
            true => self.blocks(),
            false => self.values(),
        };
        let data = data.ok_or_else(|| Error::Compute("a quantized matrix lacks numbers".into()))?;
        Ok(StoredTensor {
            storage: self.storage(),
            shape: self.shape().to_vec(),
            data: data.into(),
        })
    }

    /// A scale, a least value, and 32 numbers at a time.
    fn blocks(&self) -> Option<Vec<u8>> {
        let mut data = Vec::with_capacity(self.inputs * self.outputs / BLOCK * 24);
        for output in 0..self.outputs {
            for first in (0..self.inputs).step_by(BLOCK) {
                let (scale, zero) = self.scale(first / self.group_size, output)?;
                data.extend(scale.to_le_bytes());
                data.extend((-(zero as f32) * scale).to_le_bytes());
                for input in first..first + BLOCK / 2 {
                    let low = self.quant(input, output)?;
                    data.push(low | self.quant(input + BLOCK / 2, output)? << 4);
                }
            }
        }
        Some(data)
    }

    /// Numbers.
    fn values(&self) -> Option<Vec<u8>> {
        let mut data = Vec::with_capacity(4 * self.inputs * self.outputs);
        for output in 0..self.outputs {
            for input in 0..self.inputs {
                let group = match &self.groups {
                    Some(groups) => groups[input],
                    None => input / self.group_size,
                };
                let (scale, zero) = self.scale(group, output)?;
                let value = (i32::from(self.quant(input, output)?) - zero) as f32 * scale;
                data.extend(value.to_le_bytes());
            }
        }
        Some(data)
    }

    /// The scale and the zero point of a group.
    fn scale(&self, group: usize, output: usize) -> Option<(f32, i32)> {
        let scale = *self.scales.get(group * self.outputs + output)?;
        let (place, less) = match self.packing {
            Packing::Inputs { less } => (output % 8, less),
            Packing::Outputs => (PLACES[output % 8], 0),
        };
        let word = word(self.zeros, (group * self.outputs + output) / 8)?;
        // Eight-bit arithmetic is how the files' writers wrap it.
        Some((scale, ((word >> (4 * place) & 15) as i32 + less) & 15))
    }

    fn quant(&self, input: usize, output: usize) -> Option<u8> {
        let (index, place) = match self.packing {
            Packing::Inputs { .. } => (input / 8 * self.outputs + output, input % 8),
            Packing::Outputs => ((input * self.outputs + output) / 8, PLACES[output % 8]),
        };
        Some((word(self.quants, index)? >> (4 * place) & 15) as u8)
    }
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.get(index).map(|word| u32::from_le_bytes(*word))
}
