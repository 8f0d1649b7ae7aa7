//! A head's tensors, by their published names, brought to a backend.

use std::ops::Range;
use std::sync::Arc;

use super::Entry;
use super::files::{EagleFiles, Third};
use crate::architecture::ModelSpec;
use crate::backend::{AttentionShape, Backend, Linear, Norm};
use crate::error::{Error, Result};
use crate::weights::{Checkpoint, StoredRows, StoredTensor, dequantize};

/// Brings a head's tensors to a backend.
pub(super) struct Reader<'a, B: Backend> {
    pub(super) files: &'a EagleFiles,
    pub(super) backend: &'a Arc<B>,
}

impl<B: Backend> Reader<'_, B> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.files.checkpoint.tensor(name).is_some()
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<StoredTensor<'_>> {
        let checkpoint = &self.files.checkpoint;
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

    /// Some columns of a stored matrix; its bias, if it has one, is added with the first.
    fn part(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
        columns: Range<usize>,
    ) -> Result<Linear<B>> {
        let tensor = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let part = tensor.columns(columns.clone());
        let part =
            part.ok_or_else(|| Error::Compute(format!("no columns {columns:?} of {name}")))?;
        let bias = format!("{name}.bias");
        let bias = (columns.start == 0 && self.has(&bias)).then(|| self.vector(&bias, outputs));
        let matrix = self.backend.matrix(&part)?;
        self.files.checkpoint.release(&tensor);
        Ok(Linear {
            matrix,
            bias: bias.transpose()?,
        })
    }

    fn vector(&self, name: &str, length: usize) -> Result<B::Vector> {
        let values = dequantize(&self.tensor(name, &[length])?)?;
        Ok(self.backend.vector(values)?)
    }

    pub(super) fn norm(&self, name: &str, width: usize) -> Result<Norm<B>> {
        Ok(Norm {
            kind: self.files.spec.norm,
            weight: self.vector(&format!("{name}.weight"), width)?,
            bias: None,
        })
    }

    /// The head's own embedding.
    pub(super) fn embedding(&self, width: usize) -> Result<StoredRows> {
        const NAME: &str = "embed_tokens.weight";
        let checkpoint = &self.files.checkpoint;
        let table = checkpoint.rows(NAME);
        let table = table.filter(|table| table.shape()[1] == width);
        table.ok_or_else(|| {
            let reason = format!("tensor {NAME:?}: expected a matrix of {width} columns");
            Error::corrupt(checkpoint.file_of(NAME), reason)
        })
    }

    pub(super) fn entry(
        &self,
        spec: &ModelSpec,
        shape: AttentionShape,
        third: Option<(&Third, usize)>,
        at: &impl Fn(&str) -> String,
    ) -> Result<Entry<B>> {
        let (queries, keys) = (shape.query_size(), shape.kv_size());
        let hidden = spec.hidden_size;
        let projections = |inputs: usize, columns: Range<usize>| {
            let linear = |name: &str, outputs| {
                let name = at(&format!("self_attn.{name}"));
                self.part(&name, outputs, inputs, columns.clone())
            };
            Ok::<_, Error>([
                linear("q_proj", queries)?,
                linear("k_proj", keys)?,
                linear("v_proj", keys)?,
            ])
        };
        let Some((third, width)) = third else {
            return Ok(Entry::Fused {
                embedding: self.part("fc", hidden, 2 * hidden, 0..hidden)?,
                feature: self.part("fc", hidden, 2 * hidden, hidden..2 * hidden)?,
                projections: projections(hidden, 0..hidden)?,
            });
        };
        let fusion_norm = third
            .norm_before_fusion
            .then(|| self.norm("input_norm", width));
        Ok(Entry::Paired {
            fusion_norm: fusion_norm.transpose()?,
            fusion: self.linear("fc", hidden, 0..width)?,
            norm_before_residual: third.norm_before_residual,
            embedding_norm: self.norm(&at("input_layernorm"), hidden)?,
            feature_norm: self.norm(&at("hidden_norm"), hidden)?,
            of_embedding: projections(2 * hidden, 0..hidden)?,
            of_feature: projections(2 * hidden, hidden..2 * hidden)?,
        })
    }

    /// The target's tokens: each of the head's, and what is to be added to it (`d2t`).
    pub(super) fn to_target(&self, vocab_size: usize) -> Result<Option<Vec<u32>>> {
        let Some(offsets) = self.files.checkpoint.integers("d2t")? else {
            return Ok(None);
        };
        if offsets.is_empty() {
            return Err(Error::corrupt(&self.files.folder, "d2t is empty"));
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
                    Error::corrupt(&self.files.folder, reason)
                })
        });
        targets.collect::<Result<_>>().map(Some)
    }
}
