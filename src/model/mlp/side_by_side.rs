//! A gated MLP and a mixture of experts on the same residual stream (Gemma 4).

use super::PlainMlp;
use super::experts::MixtureOfExperts;
use crate::architecture::ExpertsSpec;
use crate::architecture::names::LayerTensor;
use crate::backend::{Backend, Linear, Norm};
use crate::error::Result;
use crate::model::loader::Loader;

/// `x + norm(norm1(mlp(x)) + norm2(experts(x)))`
pub(in crate::model) struct SideBySide<B: Backend> {
    gate: Linear<B>,
    dense: PlainMlp<B>,
    experts: MixtureOfExperts<B>,
    norm: Norm<B>,
}

impl<B: Backend> SideBySide<B> {
    /// Brings the weights of layer `index` to the backend.
    pub(super) fn load(
        loader: &mut Loader<'_, B>,
        index: usize,
        width: usize,
        experts: ExpertsSpec,
    ) -> Result<Self> {
        use LayerTensor as T;
        let hidden = loader.spec.hidden_size;
        let norms = loader.norms(index, T::ExpertsNorm, T::PostExpertsNorm)?;
        Ok(Self {
            gate: loader.layer_linear(index, T::Gate, width, hidden)?,
            dense: PlainMlp {
                norms: loader.norms(index, T::MlpNorm, T::PostDenseNorm)?,
                up: loader.layer_linear(index, T::Up, width, hidden)?,
                down: loader.layer_linear(index, T::Down, hidden, width)?,
                activation: loader.spec.activation,
                gate_scale: 1.0,
                excess: None,
            },
            experts: MixtureOfExperts::load(loader, index, experts, norms)?,
            norm: loader.layer_norm(index, T::PostMlpNorm, hidden)?,
        })
    }

    /// The residual stream with what both make of `x`.
    pub(super) fn forward(
        &self,
        backend: &B,
        x: &B::Activations,
        residual: &B::Activations,
    ) -> Result<B::Activations> {
        let Self { dense, experts, .. } = self;
        let widened = dense.widen(backend, Some(&self.gate), x)?;
        let of_dense = backend.linear(&widened, &dense.down)?;
        let of_dense = dense.norms.finish(backend, of_dense)?;
        let of_experts = experts.norms.finish(backend, experts.sums(backend, x)?)?;
        let sum = backend.add(&of_dense, &of_experts)?;
        Ok(backend.add(&backend.norm(&sum, &self.norm)?, residual)?)
    }
}
