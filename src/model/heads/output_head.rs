//! What gives a head's logits: a matrix, the target's or its own.

use std::sync::Arc;

use super::reader::Reader;
use crate::backend::{Backend, Linear, OutputTiles};
use crate::error::{Error, Result};

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
    pub(super) fn of_files(reader: &Reader<'_, B>, to_target: Option<&[u32]>) -> Result<Self> {
        let (host, inputs) = (reader.host, reader.hidden_size);
        let tokens = to_target.map_or(host.spec.vocab_size, <[u32]>::len);
        match reader.has("lm_head.weight") {
            true => Ok(Self::own(reader.linear("lm_head", tokens, 0..inputs)?)),
            false if to_target.is_none() => Ok(host.output_head()),
            false => {
                let reason = "it has tokens of its own (d2t), and no lm_head.weight for them";
                Err(Error::unsupported(
                    reader.source.display().to_string(),
                    reason,
                ))
            }
        }
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
