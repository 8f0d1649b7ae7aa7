//! A published head's tensors, by their names, brought to a backend.

use std::ops::Range;
use std::path::Path;

use super::{MAX_PADDING, TargetParts};
use crate::backend::{Backend, Linear, Norm, NormKind};
use crate::error::{Error, Result};
use crate::weights::{Checkpoint, StoredRows, StoredTensor, dequantize};

/// Brings a head's tensors to a backend.
pub(super) struct HeadTensors<'a, B: Backend> {
    pub(super) checkpoint: &'a dyn Checkpoint,
    /// The head's file or folder.
    pub(super) source: &'a Path,
    /// The kind of its norms.
    pub(super) norm: NormKind,
    /// The width of its layers.
    pub(super) hidden_size: usize,
    pub(super) target: &'a TargetParts<'a, B>,
}

impl<B: Backend> HeadTensors<'_, B> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.checkpoint.tensor(name).is_some()
    }

    /// How many numbers the head has.
    pub(super) fn elements(&self) -> u64 {
        let names = self.checkpoint.names().into_iter();
        let elements = names.filter_map(|name| self.checkpoint.tensor(name)?.elements());
        elements.sum::<usize>() as u64
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<StoredTensor<'_>> {
        let checkpoint = self.checkpoint;
        let corrupt = |reason| Error::corrupt(checkpoint.file_of(name), reason);
        let tensor = checkpoint
            .tensor(name)
            .ok_or_else(|| corrupt(format!("tensor {name:?} is missing")))?;
        if tensor.shape != shape {
            let found = &tensor.shape;
            return Err(corrupt(format!(
                "tensor {name:?}: expected {shape:?}, found {found:?}"
            )));
        }
        Ok(tensor)
    }

    /// A matrix of so many columns.
    pub(super) fn linear(
        &self,
        name: &str,
        outputs: usize,
        columns: Range<usize>,
    ) -> Result<Linear<B>> {
        self.part(name, outputs, columns.end, columns)
    }

    /// Some columns of a stored matrix, whose inputs are given in number; its bias, if it has one, is added with the first.
    pub(super) fn part(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
        columns: Range<usize>,
    ) -> Result<Linear<B>> {
        let tensor = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let part = tensor.columns(columns.clone())?;
        let bias = format!("{name}.bias");
        let bias = (columns.start == 0 && self.has(&bias)).then(|| self.vector(&bias, outputs));
        let matrix = self
            .target
            .backend
            .matrix(&self.target.matrices().hold(part)?)?;
        self.checkpoint.release(&tensor);
        Ok(Linear {
            matrix,
            bias: bias.transpose()?,
        })
    }

    fn vector(&self, name: &str, length: usize) -> Result<B::Vector> {
        let values = dequantize(&self.tensor(name, &[length])?)?;
        Ok(self.target.backend.vector(values)?)
    }

    pub(super) fn norm(&self, name: &str, width: usize) -> Result<Norm<B>> {
        Ok(Norm {
            kind: self.norm,
            weight: self.vector(&format!("{name}.weight"), width)?,
            bias: None,
        })
    }

    /// The head's own embedding.
    pub(super) fn embedding(&self, width: usize) -> Result<StoredRows> {
        self.table("embed_tokens.weight", width)
    }

    /// A table with a row of this width for each of the target's tokens, which are read one by one.
    pub(super) fn table(&self, name: &str, width: usize) -> Result<StoredRows> {
        let tokens = self.target.spec.vocab_size;
        let fits = |[rows, columns]: [usize; 2]| {
            columns == width && rows.saturating_add(MAX_PADDING) >= tokens
        };
        let table = self.checkpoint.rows(name);
        let table = table.filter(|table| fits(table.shape()));
        table.ok_or_else(|| {
            let reason = format!("tensor {name:?}: expected {tokens} rows of {width} columns");
            Error::corrupt(self.checkpoint.file_of(name), reason)
        })
    }

    /// The values of a tensor, with which the target computes.
    pub(super) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        Ok(dequantize(&self.tensor(name, shape)?)?)
    }

    /// The same, whatever dimensions of 1 its shape has.
    pub(super) fn flat_values(&self, name: &str, length: usize) -> Result<Vec<f32>> {
        let stored = self.checkpoint.tensor(name);
        let shape = stored.map(|stored| stored.shape).unwrap_or_default();
        match shape.iter().product::<usize>() == length {
            true => self.values(name, &shape),
            false => self.values(name, &[length]),
        }
    }

    /// The target's tokens: each of the head's, and what is to be added to it (`d2t`).
    pub(super) fn to_target(&self, vocab_size: usize) -> Result<Option<Vec<u32>>> {
        let Some(offsets) = self.checkpoint.integers("d2t")? else {
            return Ok(None);
        };
        if offsets.is_empty() || offsets.len() > vocab_size {
            let found = offsets.len();
            let reason = format!("d2t: expected from 1 to {vocab_size} tokens, found {found}");
            return Err(Error::corrupt(self.source, reason));
        }
        let targets = (0_i64..).zip(offsets).map(|(token, offset)| {
            let target = token
                .checked_add(offset)
                .and_then(|id| u32::try_from(id).ok());
            target
                .filter(|id| (*id as usize) < vocab_size)
                .ok_or_else(|| {
                    let reason =
                        format!("d2t of token {token}: {offset} leads out of the vocabulary");
                    Error::corrupt(self.source, reason)
                })
        });
        targets.collect::<Result<_>>().map(Some)
    }
}
