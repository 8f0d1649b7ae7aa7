//! Gated delta nets (Yang et al., 2412.06464), as in Qwen3-Next and Qwen3.5: a convolution, then a matrix for each head that
//! forgets, and learns what it does not yet say of a key.

use std::sync::Arc;

use super::taps::{LANES, Taps, lanes_of};
use crate::architecture::DeltaNetSpec;
use crate::architecture::names::LayerTensor;
use crate::backend::{Backend, Linear, Recurrence, RecurrentState};
use crate::error::Result;
use crate::model::host::{read, sigmoid, silu, softplus};
use crate::model::loader::Loader;
use crate::model::norms::Norms;
use crate::model::pass::Pass;

/// Added to the sum of squares of queries and keys.
const EPSILON: f32 = 1e-6;

/// The weights of a layer.
pub(in crate::model) struct DeltaNet<B: Backend> {
    spec: DeltaNetSpec,
    norms: Norms<B>,
    /// To queries, keys and values.
    input: Linear<B>,
    /// To the gate of the output.
    gate: Linear<B>,
    /// To the decay and to the step size of each head.
    decay: Linear<B>,
    step: Linear<B>,
    /// Of each head: the factor on the decay, negative, and what is added before.
    factors: Vec<f32>,
    offsets: Vec<f32>,
    convolution: Arc<Convolution>,
    delta: Arc<DeltaRule>,
    /// The norm of each head's output.
    output_norm: Vec<f32>,
    epsilon: f32,
    output: Linear<B>,
}

/// A convolution over the last tokens, then `silu`.
struct Convolution(Taps);

/// `S <- e^g S; d = beta (v - S^T k); S <- S + k d^T; o = S^T q`, with the inputs `[q | k | v | e^g | beta]`.
struct DeltaRule {
    spec: DeltaNetSpec,
    /// Columns of a block.
    lanes: usize,
}

impl Recurrence for Convolution {
    fn blocks(&self) -> usize {
        self.0.blocks()
    }

    fn state_width(&self) -> usize {
        self.0.state_width()
    }

    fn input_width(&self) -> usize {
        self.0.channels
    }

    fn output_width(&self) -> usize {
        self.0.lanes
    }

    fn advance(&self, block: usize, input: &[f32], state: &mut [f32]) {
        let values = &input[block * self.0.lanes..][..self.0.lanes];
        self.0.next(state).copy_from_slice(values);
    }

    fn output(&self, block: usize, _input: &[f32], state: &[f32], output: &mut [f32]) {
        output.fill(0.0);
        self.0.add(block, state, output);
        for output in output {
            *output = silu(*output);
        }
    }
}

impl DeltaRule {
    fn blocks_of_head(&self) -> usize {
        self.spec.value_dim / self.lanes
    }

    /// The query, or key, that a value head reads.
    fn of_key_head<'a>(&self, input: &'a [f32], first: usize, head: usize) -> &'a [f32] {
        let dim = self.spec.key_dim;
        &input[first + self.spec.key_head(head) * dim..][..dim]
    }
}

impl Recurrence for DeltaRule {
    fn blocks(&self) -> usize {
        self.spec.value_heads * self.blocks_of_head()
    }

    fn state_width(&self) -> usize {
        self.spec.key_dim * self.lanes
    }

    fn input_width(&self) -> usize {
        self.spec.channels() + 2 * self.spec.value_heads
    }

    fn output_width(&self) -> usize {
        self.lanes
    }

    fn advance(&self, block: usize, input: &[f32], state: &mut [f32]) {
        let (spec, lanes) = (&self.spec, self.lanes);
        let head = block / self.blocks_of_head();
        let key = self.of_key_head(input, spec.key_width(), head);
        let values = &input[2 * spec.key_width() + block * lanes..][..lanes];
        let decay = input[spec.channels() + head];
        let step = input[spec.channels() + spec.value_heads + head];
        let mut known = [0.0; LANES];
        let known = &mut known[..lanes];
        for (row, key) in state.chunks_exact_mut(lanes).zip(key) {
            for (state, known) in row.iter_mut().zip(&mut *known) {
                *state *= decay;
                *known += *state * key;
            }
        }
        for (known, value) in known.iter_mut().zip(values) {
            *known = step * (value - *known);
        }
        for (row, key) in state.chunks_exact_mut(lanes).zip(key) {
            for (state, change) in row.iter_mut().zip(&*known) {
                *state += key * change;
            }
        }
    }

    fn output(&self, block: usize, input: &[f32], state: &[f32], output: &mut [f32]) {
        let head = block / self.blocks_of_head();
        let query = self.of_key_head(input, 0, head);
        output.fill(0.0);
        for (row, query) in state.chunks_exact(self.lanes).zip(query) {
            for (output, state) in output.iter_mut().zip(row) {
                *output += state * query;
            }
        }
    }
}

impl<B: Backend> DeltaNet<B> {
    /// Brings the weights of layer `index` to the backend.
    pub(super) fn load(
        loader: &mut Loader<'_, B>,
        index: usize,
        spec: DeltaNetSpec,
    ) -> Result<Self> {
        use LayerTensor as T;
        let (hidden, channels, values) =
            (loader.spec.hidden_size, spec.channels(), spec.value_width());
        let heads = spec.value_heads;
        let convolution = Taps::load(loader, index, channels, spec.taps)?;
        let delta = DeltaRule {
            spec,
            lanes: lanes_of(spec.value_dim),
        };
        // GGUF files hold the factors themselves, others their logarithm.
        let factors = match loader.optional_layer_values(index, T::Decay, "weight", heads)? {
            Some(factors) => factors,
            None => {
                let logarithms = loader.layer_values(index, T::DecayLogarithm, &[heads])?;
                logarithms.into_iter().map(|log| -libm::expf(log)).collect()
            }
        };
        Ok(Self {
            spec,
            norms: loader.norms(index, T::AttentionNorm, T::PostAttentionNorm)?,
            input: loader.layer_linear(index, T::DeltaInput, channels, hidden)?,
            gate: loader.layer_linear(index, T::DeltaGate, values, hidden)?,
            decay: loader.exact_layer_linear(index, T::DeltaDecay, heads, hidden)?,
            step: loader.exact_layer_linear(index, T::DeltaStep, heads, hidden)?,
            factors,
            offsets: loader.layer_values(index, T::DecayOffset, &[heads])?,
            convolution: Arc::new(Convolution(convolution)),
            delta: Arc::new(delta),
            output_norm: loader.layer_values(index, T::DeltaNorm, &[spec.value_dim])?,
            epsilon: loader.spec.norm.epsilon(),
            output: loader.layer_linear(index, T::DeltaOutput, hidden, values)?,
        })
    }

    /// The states of a sequence without tokens: of the convolution, and of the heads.
    pub(super) fn states(&self) -> [RecurrentState; 2] {
        [
            RecurrentState::new(&*self.convolution),
            RecurrentState::new(&*self.delta),
        ]
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
        let batch = pass.batch;
        let mixed = backend.recur(
            mixed,
            &*self.convolution,
            &mut pass.states_of(index)?,
            batch,
        )?;
        let inputs = self.inputs(
            &read(backend, mixed)?,
            &read(backend, decay)?,
            &read(backend, step)?,
        );
        let inputs = backend.rows(&inputs, self.delta.input_width())?;
        let outputs =
            backend.recur(inputs, &*self.delta, &mut pass.states_of(index + 1)?, batch)?;
        let outputs = self.gated(read(backend, outputs)?, &read(backend, gate)?);
        let outputs = backend.rows(&outputs, self.spec.value_width())?;
        self.norms.join(backend, &outputs, &self.output, x)
    }

    /// The inputs of the delta rule: queries and keys of unit length, values, decays and step sizes.
    fn inputs(&self, mixed: &[f32], decay: &[f32], step: &[f32]) -> Vec<f32> {
        let spec = &self.spec;
        let scale = (spec.key_dim as f32).powf(-0.5);
        let rows = mixed.chunks_exact(spec.channels());
        let heads = decay
            .chunks_exact(spec.value_heads)
            .zip(step.chunks_exact(spec.value_heads));
        let mut inputs = Vec::with_capacity(rows.len() * self.delta.input_width());
        for (row, (decay, step)) in rows.zip(heads) {
            let (queries, rest) = row.split_at(spec.key_width());
            let (keys, values) = rest.split_at(spec.key_width());
            for (heads, scale) in [(queries, scale), (keys, 1.0)] {
                for head in heads.chunks_exact(spec.key_dim) {
                    let squares = head.iter().fold(0.0, |sum, x| sum + x * x);
                    let factor = 1.0 / (squares + EPSILON).sqrt();
                    inputs.extend(head.iter().map(|x| x * factor * scale));
                }
            }
            inputs.extend_from_slice(values);
            let heads = decay.iter().zip(&self.offsets).zip(&self.factors);
            inputs.extend(
                heads.map(|((x, offset), factor)| libm::expf(factor * softplus(x + offset))),
            );
            inputs.extend(step.iter().map(|x| sigmoid(*x)));
        }
        inputs
    }

    /// Each head's output, normalized and gated.
    fn gated(&self, mut outputs: Vec<f32>, gate: &[f32]) -> Vec<f32> {
        let dim = self.spec.value_dim;
        for (head, gate) in outputs.chunks_exact_mut(dim).zip(gate.chunks_exact(dim)) {
            let squares = head.iter().fold(0.0, |sum, x| sum + x * x);
            let factor = 1.0 / (squares / dim as f32 + self.epsilon).sqrt();
            for ((x, weight), gate) in head.iter_mut().zip(&self.output_norm).zip(gate) {
                *x = *x * factor * weight * silu(*gate);
            }
        }
        outputs
    }
}
