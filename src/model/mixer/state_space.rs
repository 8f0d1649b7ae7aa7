//! Selective state spaces (Mamba-2: Dao & Gu, 2405.21060): a convolution, then a matrix for each head that decays.

use crate::architecture::StateSpaceSpec;
use crate::architecture::names::LayerTensor;
use crate::backend::{
    Backend, Convolution, GateOrder, GatedNorm, Linear, Recurrence, RowMap, StateSpace,
};
use crate::error::Result;
use crate::model::loader::Loader;
use crate::model::norms::Norms;
use crate::model::pass::Pass;

/// The weights of a layer.
pub(in crate::model) struct StateSpaceMixer<B: Backend> {
    norms: Norms<B>,
    gate: Linear<B>,
    /// To what the convolution reads.
    input: Linear<B>,
    /// To each head's step size.
    step: Linear<B>,
    convolution: Recurrence,
    space_inputs: RowMap,
    space: Recurrence,
    /// The norm of the output, and the gate.
    finish: RowMap,
    output: Linear<B>,
}

impl<B: Backend> StateSpaceMixer<B> {
    /// Brings the weights of layer `index` to the backend.
    pub(super) fn load(
        loader: &mut Loader<'_, B>,
        index: usize,
        spec: StateSpaceSpec,
    ) -> Result<Self> {
        use LayerTensor as T;
        let (hidden, heads) = (loader.spec.hidden_size, spec.heads);
        let inner = heads * spec.head_dim;
        let [gate_factor, of_x, entering, leaving, of_step] = spec.factors.parts;
        let space = StateSpace {
            heads,
            head_dim: spec.head_dim,
            groups: spec.groups,
            state_dim: spec.state_dim,
            skip: loader.layer_values(index, T::SpaceSkip, &[heads])?,
        };
        let channels = space.channels();
        let shared = spec.groups * spec.state_dim;
        let factors = [(of_x, inner), (entering, shared), (leaving, shared)];
        let factors = factors.map(|(factor, count)| vec![factor; count]).concat();
        let taps = loader.taps(index, channels, spec.taps)?.scaled(&factors);
        let part = inner / spec.norm_parts;
        let finish = GatedNorm {
            width: inner,
            part,
            weight: match spec.finish {
                GateOrder::NoNorm => Vec::new(),
                GateOrder::NormFirst | GateOrder::GateFirst => {
                    loader.vector_in_parts(index, T::SpaceNorm, spec.norm_parts, part)?
                }
            },
            epsilon: loader.spec.norm.epsilon(),
            order: spec.finish,
            scale: gate_factor,
        };
        let space_inputs = RowMap::StateInputs {
            space: space.clone(),
            factors: loader.decay_factors(index, heads)?,
            offsets: loader.layer_values(index, T::DecayOffset, &[heads])?,
            scale: of_step,
            limits: spec.step_limits,
        };
        let mut norms = loader.norms(index, T::AttentionNorm, T::PostAttentionNorm)?;
        norms.scale *= spec.factors.output;
        Ok(Self {
            norms,
            gate: loader.layer_linear(index, T::SpaceGate, inner, hidden)?,
            input: loader.layer_linear(index, T::SpaceInput, channels, hidden)?,
            step: loader.exact_layer_linear(index, T::SpaceStep, heads, hidden)?,
            convolution: Recurrence::Convolution(Convolution { taps }),
            space_inputs,
            space: Recurrence::StateSpace(space),
            finish: RowMap::GatedNorm(finish),
            output: loader.layer_linear(index, T::SpaceOutput, hidden, inner)?,
        })
    }

    /// Of the convolution, and of the heads.
    pub(super) fn recurrences(&self) -> [&Recurrence; 2] {
        [&self.convolution, &self.space]
    }

    /// The residual stream with what the layer makes of `x`; `index` is the first of its states.
    pub(super) fn forward(
        &self,
        x: &B::Activations,
        residual: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let projections = [&self.gate, &self.input, &self.step];
        let [gate, mixed, step] = self.norms.project(backend, x, projections)?;
        let mixed = pass.recur(mixed, &self.convolution, index)?;
        let inputs = backend.map_rows([mixed, step], &self.space_inputs)?;
        let outputs = pass.recur(inputs, &self.space, index + 1)?;
        let outputs = backend.map_rows([outputs, gate], &self.finish)?;
        self.norms.join(backend, &outputs, &self.output, residual)
    }
}
