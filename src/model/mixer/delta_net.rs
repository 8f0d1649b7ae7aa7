//! Gated delta nets (Yang et al., 2412.06464), as in Qwen3-Next and Qwen3.5: a convolution, then a matrix for each head that
//! forgets, and learns what it does not yet say of a key.

use crate::architecture::DeltaNetSpec;
use crate::architecture::names::LayerTensor;
use crate::backend::{
    Backend, Convolution, DeltaRule, GateOrder, GatedNorm, Linear, Recurrence, RowMap,
};
use crate::error::Result;
use crate::model::loader::Loader;
use crate::model::norms::Norms;
use crate::model::pass::Pass;

/// The weights of a layer.
pub(in crate::model) struct DeltaNet<B: Backend> {
    norms: Norms<B>,
    /// To queries, keys and values.
    input: Linear<B>,
    /// To the gate of the output.
    gate: Linear<B>,
    /// To the decay and to the step size of each head.
    decay: Linear<B>,
    step: Linear<B>,
    convolution: Recurrence,
    delta_inputs: RowMap,
    delta_rule: Recurrence,
    /// The norm of each head's output, and the gate.
    finish: RowMap,
    output: Linear<B>,
}

impl<B: Backend> DeltaNet<B> {
    /// Brings the weights of layer `index` to the backend.
    pub(super) fn load(
        loader: &mut Loader<'_, B>,
        index: usize,
        spec: DeltaNetSpec,
    ) -> Result<Self> {
        use LayerTensor as T;
        let rule = DeltaRule {
            key_heads: spec.key_heads,
            value_heads: spec.value_heads,
            key_dim: spec.key_dim,
            value_dim: spec.value_dim,
            is_grouped: spec.is_grouped,
        };
        let (hidden, heads) = (loader.spec.hidden_size, spec.value_heads);
        let (channels, values) = (rule.channels(), spec.value_heads * spec.value_dim);
        let taps = loader.taps(index, channels, spec.taps)?;
        let delta_inputs = RowMap::DeltaInputs {
            rule,
            factors: loader.decay_factors(index, heads)?,
            offsets: loader.layer_values(index, T::DecayOffset, &[heads])?,
        };
        let finish = GatedNorm {
            width: values,
            part: spec.value_dim,
            weight: loader.layer_values(index, T::DeltaNorm, &[spec.value_dim])?,
            epsilon: loader.spec.norm.epsilon(),
            order: GateOrder::NormFirst,
            scale: 1.0,
        };
        Ok(Self {
            norms: loader.norms(index, T::AttentionNorm, T::PostAttentionNorm)?,
            input: loader.layer_linear(index, T::DeltaInput, channels, hidden)?,
            gate: loader.layer_linear(index, T::DeltaGate, values, hidden)?,
            decay: loader.exact_layer_linear(index, T::DeltaDecay, heads, hidden)?,
            step: loader.exact_layer_linear(index, T::DeltaStep, heads, hidden)?,
            convolution: Recurrence::Convolution(Convolution { taps }),
            delta_inputs,
            delta_rule: Recurrence::DeltaRule(rule),
            finish: RowMap::GatedNorm(finish),
            output: loader.layer_linear(index, T::DeltaOutput, hidden, values)?,
        })
    }

    /// Of the convolution, and of the heads.
    pub(super) fn recurrences(&self) -> [&Recurrence; 2] {
        [&self.convolution, &self.delta_rule]
    }

    /// The residual stream with what the layer makes of `x`; `index` is the first of its states.
    pub(super) fn forward(
        &self,
        x: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let projections = [&self.input, &self.gate, &self.decay, &self.step];
        let [mixed, gate, decay, step] = self.norms.project(backend, x, projections)?;
        let mixed = pass.recur(mixed, &self.convolution, index)?;
        let inputs = backend.map_rows([mixed, decay, step], &self.delta_inputs)?;
        let outputs = pass.recur(inputs, &self.delta_rule, index + 1)?;
        let outputs = backend.map_rows([outputs, gate], &self.finish)?;
        self.norms.join(backend, &outputs, &self.output, x)
    }
}
