//! Alternating updates (AltUp, Baykal et al., 2301.13310), as in Gemma 3n: a residual stream of several parts side by side, of
//! which each layer computes on the first, and predicts and corrects the others. With them come learned augmented residual
//! layers (LAuReL, 2411.07501).

use super::layer_inputs::{LayerInput, StepInputs};
use super::loader::Loader;
use crate::architecture::names::{LayerTensor, ModelTensor};
use crate::backend::{Backend, Linear, Norm, RowMap, Span};
use crate::error::Result;

/// How the parts begin and end, in a whole model.
pub(super) struct Streams<B: Backend> {
    /// From the first part to each of the others.
    expand: Vec<Linear<B>>,
    /// Of each of the others, when all are joined.
    unembed: Vec<Linear<B>>,
    hidden: usize,
}

impl<B: Backend> Streams<B> {
    pub(super) fn load(loader: &mut Loader<'_, B>, streams: usize) -> Result<Self> {
        let hidden = loader.spec.hidden_size;
        let mut linears = |tensor: fn(usize) -> ModelTensor| {
            let linears =
                (0..streams - 1).map(|stream| loader.linear(tensor(stream), hidden, hidden, false));
            linears.collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            expand: linears(ModelTensor::StreamProjection)?,
            unembed: linears(ModelTensor::StreamUnembedding)?,
            hidden,
        })
    }

    /// All parts side by side, of the first.
    pub(super) fn expand(&self, backend: &B, first: &B::Activations) -> Result<B::Activations> {
        let mut streams = copy(backend, first)?;
        for (index, linear) in self.expand.iter().enumerate() {
            let other = backend.linear(first, linear)?;
            let other = same_magnitude(backend, copy(backend, first)?, other)?;
            let whole = (index + 1) * self.hidden;
            let side_by_side = vec![Span::new(0, 0, whole), Span::new(1, 0, self.hidden)];
            streams = backend.map_rows([streams, other], &RowMap::Arrange(side_by_side))?;
        }
        Ok(streams)
    }

    /// The mean of all parts.
    pub(super) fn join(&self, backend: &B, streams: &B::Activations) -> Result<B::Activations> {
        let first = part(backend, streams, 0, self.hidden)?;
        let mut sum = copy(backend, &first)?;
        for (index, linear) in self.unembed.iter().enumerate() {
            let own = part(backend, streams, index + 1, self.hidden)?;
            let own = backend.linear(&own, linear)?;
            let own = same_magnitude(backend, copy(backend, &first)?, own)?;
            sum = backend.add(&sum, &own)?;
        }
        Ok(backend.scale(sum, 1.0 / (1 + self.unembed.len()) as f32)?)
    }

    /// The first part.
    pub(super) fn first(&self, backend: &B, streams: &B::Activations) -> Result<B::Activations> {
        part(backend, streams, 0, self.hidden)
    }
}

/// What a layer does with the parts.
pub(super) struct AltUp<B: Backend> {
    hidden: usize,
    router_norm: Norm<B>,
    router: Linear<B>,
    prediction: Linear<B>,
    correction: Linear<B>,
    predict: RowMap,
    correct: RowMap,
    /// The first part, scaled, for the layer's own input.
    scaled_first: RowMap,
    add_to_others: RowMap,
    /// The layer's second path around attention.
    laurel: Laurel<B>,
}

/// `x + norm(right(left(x)))`
struct Laurel<B: Backend> {
    before: Norm<B>,
    left: Linear<B>,
    right: Linear<B>,
    norm: Norm<B>,
}

impl<B: Backend> AltUp<B> {
    pub(super) fn load(
        loader: &mut Loader<'_, B>,
        index: usize,
        streams: usize,
        rank: usize,
    ) -> Result<Self> {
        use LayerTensor as T;
        let hidden = loader.spec.hidden_size;
        let mut weights = loader.layer_values(index, T::StreamRouterNorm, &[hidden])?;
        for weight in &mut weights {
            *weight /= hidden as f32;
        }
        let width = hidden;
        Ok(Self {
            hidden,
            router_norm: loader.norm_of_values(weights)?,
            router: loader.exact_layer_linear(index, T::StreamRouter, streams, hidden)?,
            prediction: loader.exact_layer_linear(
                index,
                T::StreamPrediction,
                streams * streams,
                streams,
            )?,
            correction: loader.exact_layer_linear(index, T::StreamCorrection, streams, streams)?,
            predict: RowMap::Mix { streams, width },
            correct: RowMap::Correct { streams, width },
            scaled_first: RowMap::Scale(loader.layer_values(index, T::StreamScale, &[hidden])?),
            add_to_others: RowMap::AddToOthers { streams, width },
            laurel: Laurel {
                before: loader.layer_norm(index, T::AttentionNorm, hidden)?,
                left: loader.layer_linear(index, T::LaurelLeft, rank, hidden)?,
                right: loader.layer_linear(index, T::LaurelRight, hidden, rank)?,
                norm: loader.layer_norm(index, T::LaurelNorm, hidden)?,
            },
        })
    }

    /// What the parts are predicted to be after the layer, and the first of them.
    pub(super) fn predict(
        &self,
        backend: &B,
        streams: &B::Activations,
    ) -> Result<(B::Activations, B::Activations)> {
        let first = part(backend, streams, 0, self.hidden)?;
        let weights = self.weights(backend, &first, &self.prediction)?;
        let streams = copy(backend, streams)?;
        let predicted = backend.map_rows([streams, weights], &self.predict)?;
        let first = part(backend, &predicted, 0, self.hidden)?;
        Ok((predicted, first))
    }

    /// The residual stream after attention, joined with the second path around it.
    pub(super) fn beside_attention(
        &self,
        backend: &B,
        x: &B::Activations,
        attended: &B::Activations,
    ) -> Result<B::Activations> {
        let Laurel {
            before,
            left,
            right,
            norm,
        } = &self.laurel;
        let normed = backend.norm(x, before)?;
        let narrow = backend.linear(&normed, left)?;
        let laurel = backend.linear_add(&narrow, right, Some(norm), &normed)?;
        let sum = backend.add(attended, &laurel)?;
        Ok(backend.scale(sum, std::f32::consts::FRAC_1_SQRT_2)?)
    }

    /// The parts after the layer, which made `returned` of the first; its own input enters the others.
    pub(super) fn correct(
        &self,
        backend: &B,
        predicted: B::Activations,
        returned: B::Activations,
        input: Option<(&LayerInput<B>, &StepInputs)>,
    ) -> Result<B::Activations> {
        let weights = self.weights(backend, &returned, &self.correction)?;
        let parts = [predicted, returned, weights];
        let corrected = backend.map_rows(parts, &self.correct)?;
        let Some((input, inputs)) = input else {
            return Ok(corrected);
        };
        let first = part(backend, &corrected, 0, self.hidden)?;
        let first = backend.map_rows([first], &self.scaled_first)?;
        let entering = input.entering(backend, &first, inputs)?;
        Ok(backend.map_rows([corrected, entering], &self.add_to_others)?)
    }

    /// Weights of the parts, of what the first is.
    fn weights(
        &self,
        backend: &B,
        first: &B::Activations,
        linear: &Linear<B>,
    ) -> Result<B::Activations> {
        let [routed] = backend.project(first, &self.router_norm, [&self.router])?;
        // A cap of 1 is the hyperbolic tangent.
        let routed = backend.softcap(routed, 1.0)?;
        Ok(backend.linear(&routed, linear)?)
    }
}

fn copy<B: Backend>(backend: &B, x: &B::Activations) -> Result<B::Activations> {
    let all: Vec<usize> = (0..backend.row_count(x)).collect();
    Ok(backend.select(x, &all)?)
}

/// One of the parts.
fn part<B: Backend>(
    backend: &B,
    streams: &B::Activations,
    index: usize,
    hidden: usize,
) -> Result<B::Activations> {
    let own = RowMap::Arrange(vec![Span::new(0, index * hidden, hidden)]);
    Ok(backend.map_rows([copy(backend, streams)?], &own)?)
}

/// `x` with the mean square of `target`.
fn same_magnitude<B: Backend>(
    backend: &B,
    target: B::Activations,
    x: B::Activations,
) -> Result<B::Activations> {
    Ok(backend.map_rows([target, x], &RowMap::SameMagnitude)?)
}
