//! What gives a head's logits: a matrix, the target's or its own.

use std::sync::Arc;

use crate::backend::{Backend, Linear, OutputTiles};
use crate::error::Result;

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
