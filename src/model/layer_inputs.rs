//! Inputs that each layer has of its own, looked up by token (Gemma 3n, Gemma 4).
//!
//! A table gives a vector for each token and layer; it is so large that its rows are read from the file. A projection of the
//! embedding gives another. Their sum enters the residual stream after each layer's MLP, through a gate.

use std::sync::Arc;

use super::host::read;
use super::loader::Loader;
use crate::architecture::LayerInputsSpec;
use crate::architecture::names::{LayerTensor, ModelTensor};
use crate::backend::{Activation, Backend, Linear, Norm};
use crate::error::Result;
use crate::weights::StoredRows;

/// What gives the inputs of all layers.
pub(super) struct LayerInputs<B: Backend> {
    spec: LayerInputsSpec,
    layers: usize,
    table: StoredRows,
    /// From the embedding.
    projection: Linear<B>,
    /// Factor on its results.
    projection_scale: f32,
    /// The norm of each layer's part of them.
    norm: Vec<f32>,
    epsilon: f32,
}

/// The inputs of a step's rows: of each layer all rows, `[layers][rows][width]`.
pub(super) struct StepInputs {
    values: Vec<f32>,
    width: usize,
    rows: usize,
}

impl<B: Backend> LayerInputs<B> {
    pub(super) fn load(loader: &mut Loader<'_, B>, spec: LayerInputsSpec) -> Result<Arc<Self>> {
        let (hidden, layers) = (loader.spec.hidden_size, loader.spec.layers.len());
        let width = layers * spec.width;
        let projection = ModelTensor::LayerInputsProjection;
        Ok(Arc::new(Self {
            spec,
            layers,
            table: loader.table(ModelTensor::LayerInputs, spec.vocab_size, width)?,
            projection: loader.linear(projection, width, hidden, false)?,
            projection_scale: (hidden as f32).powf(-0.5),
            norm: loader.model_values(ModelTensor::LayerInputsNorm, spec.width)?,
            epsilon: loader.spec.norm.epsilon(),
        }))
    }

    /// The inputs of some tokens, whose embeddings are `x`.
    pub(super) fn of(&self, backend: &B, ids: &[u32], x: &B::Activations) -> Result<StepInputs> {
        let (width, layers) = (self.spec.width, self.layers);
        let projected = read(backend, backend.linear(x, &self.projection)?)?;
        let mut values = vec![0.0; projected.len()];
        let scale = (width as f32).sqrt();
        for (row, (id, projected)) in ids.iter().zip(projected.chunks(layers * width)).enumerate() {
            // Ids that the table lacks have its first row.
            let id = *id as usize;
            let of_token = self
                .table
                .row(if id < self.spec.vocab_size { id } else { 0 })?;
            let parts = projected.chunks(width).zip(of_token.chunks(width));
            for (layer, (projected, of_token)) in parts.enumerate() {
                let own = &mut values[(layer * ids.len() + row) * width..][..width];
                self.add(own, projected, of_token, scale);
            }
        }
        Ok(StepInputs {
            values,
            width,
            rows: ids.len(),
        })
    }

    /// One layer's input for one token.
    fn add(&self, own: &mut [f32], projected: &[f32], of_token: &[f32], scale: f32) {
        let projected = || projected.iter().map(|x| x * self.projection_scale);
        let squares = projected().fold(0.0, |sum, x| sum + x * x);
        let factor = 1.0 / (squares / own.len() as f32 + self.epsilon).sqrt();
        let parts = projected().zip(&self.norm).zip(of_token);
        for (own, ((projected, weight), of_token)) in own.iter_mut().zip(parts) {
            let sum = projected * factor * weight + of_token * scale;
            *own = sum * std::f32::consts::FRAC_1_SQRT_2;
        }
    }
}

impl StepInputs {
    /// Those of a layer.
    fn of<B: Backend>(&self, backend: &B, layer: usize) -> Result<B::Activations> {
        let size = self.rows * self.width;
        let own = &self.values[layer * size..][..size];
        Ok(backend.rows(own, self.width)?)
    }
}

/// How its input enters a layer: `x + norm(projection(activation(gate(x)) * input))`.
pub(super) struct LayerInput<B: Backend> {
    layer: usize,
    gate: Linear<B>,
    activation: Activation,
    projection: Linear<B>,
    norm: Norm<B>,
}

impl<B: Backend> LayerInput<B> {
    pub(super) fn load(
        loader: &mut Loader<'_, B>,
        layer: usize,
        spec: LayerInputsSpec,
    ) -> Result<Self> {
        use LayerTensor as T;
        let (hidden, width) = (loader.spec.hidden_size, spec.width);
        Ok(Self {
            layer,
            gate: loader.layer_linear(layer, T::InputGate, width, hidden)?,
            activation: loader.spec.activation,
            projection: loader.layer_linear(layer, T::InputProjection, hidden, width)?,
            norm: loader.layer_norm(layer, T::InputNorm, hidden)?,
        })
    }

    /// The residual stream `x` with what enters it.
    pub(super) fn forward(
        &self,
        backend: &B,
        x: &B::Activations,
        inputs: &StepInputs,
    ) -> Result<B::Activations> {
        Ok(backend.add(&self.entering(backend, x, inputs)?, x)?)
    }

    /// What enters a residual stream.
    pub(super) fn entering(
        &self,
        backend: &B,
        x: &B::Activations,
        inputs: &StepInputs,
    ) -> Result<B::Activations> {
        let gate = backend.activate(backend.linear(x, &self.gate)?, self.activation)?;
        let gated = backend.multiply(&gate, &inputs.of(backend, self.layer)?)?;
        Ok(backend.norm(&backend.linear(&gated, &self.projection)?, &self.norm)?)
    }
}
