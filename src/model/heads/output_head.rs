//! What gives a head's logits: a matrix, the target's or its own.

use std::sync::Arc;

use super::TargetParts;
use super::tensors::HeadTensors;
use crate::backend::{Backend, Linear, OutputTiles};
use crate::error::{Error, Result};
use crate::model::host::read;
use crate::model::memory;
use crate::weights::{StorageType, StoredTensor, quantize};

/// A matrix, and what becomes of its products.
pub(super) struct OutputHead<B: Backend> {
    pub(super) linear: Arc<Linear<B>>,
    /// Factor on the logits.
    pub(super) scale: f32,
    /// They become `cap * tanh(logit / cap)`.
    pub(super) softcap: Option<f32>,
}

impl<B: Backend> OutputHead<B> {
    /// A head's own matrix.
    pub(super) fn own(linear: Linear<B>) -> Self {
        Self {
            linear: linear.into(),
            scale: 1.0,
            softcap: None,
        }
    }

    /// That of a published head: its own matrix if it has one, else the target's. `to_target`: the head's own tokens.
    pub(super) fn of_files(
        tensors: &HeadTensors<'_, B>,
        to_target: Option<&[u32]>,
    ) -> Result<Self> {
        let (target, inputs) = (tensors.target, tensors.hidden_size);
        let tokens = to_target.map_or(target.spec.vocab_size, <[u32]>::len);
        match tensors.has("lm_head.weight") {
            true => Ok(Self::own(tensors.linear("lm_head", tokens, 0..inputs)?)),
            false if to_target.is_none() => Ok(target.output_head()),
            false => {
                let reason = "it has tokens of its own (d2t), and no lm_head.weight for them";
                Err(Error::unsupported(
                    tensors.source.display().to_string(),
                    reason,
                ))
            }
        }
    }

    /// The target's rows of some of its tokens, or of all, in the precision of a head's matrices; without the target's cap on logits,
    /// with which such heads are not trained.
    pub(super) fn of_tokens(target: &TargetParts<'_, B>, tokens: Option<&[u32]>) -> Result<Self> {
        let whole = Self {
            softcap: None,
            ..target.output_head()
        };
        let Some(tokens) = tokens else {
            return Ok(whole);
        };
        let backend = &**target.backend;
        // The rows, and their bytes.
        memory::check_of_head(tokens.len() * target.spec.hidden_size * 2 * size_of::<f32>())?;
        let rows = read(backend, backend.embed(&target.head.matrix, tokens)?)?;
        let rows = StoredTensor {
            storage: StorageType::F32,
            shape: vec![tokens.len(), rows.len() / tokens.len().max(1)],
            data: rows.into_iter().flat_map(f32::to_le_bytes).collect(),
        };
        let stored = backend.matrix_storage(&target.head.matrix);
        let rows = match stored {
            StorageType::F16 | StorageType::BF16 => quantize(&rows, stored)?,
            _ => rows,
        };
        Ok(Self {
            linear: Arc::new(Linear {
                matrix: backend.matrix(&target.matrices().hold(rows)?)?,
                bias: None,
            }),
            ..whole
        })
    }

    /// The logits of some rows, `[rows, tokens]`, or of some tokens.
    pub(super) fn logits(
        &self,
        backend: &B,
        x: &B::Activations,
        among: Option<&OutputTiles>,
    ) -> Result<B::Activations> {
        let mut logits = match among {
            Some(outputs) => backend.linear_among(x, &self.linear, outputs)?,
            None => backend.linear(x, &self.linear)?,
        };
        if self.scale.to_bits() != 1.0_f32.to_bits() {
            logits = backend.scale(logits, self.scale)?;
        }
        if let Some(cap) = self.softcap {
            logits = backend.softcap(logits, cap)?;
        }
        Ok(logits)
    }
}
