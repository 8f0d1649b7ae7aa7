//! One decoder for every family: a [`ModelSpec`] says what a layer does, a [`Backend`] does it.
//!
//! A batch is cut into chunks (`chunks`); each is one forward pass (`forward`), which may capture hidden states
//! (`captured`). A text that outgrows its rotary embeddings gets others (`stretch`). What can't be computed is refused before
//! anything is changed (`checks`).

mod captured;
mod checks;
mod chunks;
mod extend;
mod forward;
#[cfg(test)]
mod half_precision_tests;
#[cfg(test)]
mod recurrent_tests;
mod sequence;
mod stretch;
#[cfg(test)]
pub(crate) mod toy;

use std::collections::HashMap;
use std::sync::Arc;

use super::altup::Streams;
use super::info::ModelInfo;
use super::language_model::SequenceId;
use super::layer::Layer;
use super::layer_inputs::LayerInputs;
use super::loader::Loader;
use super::options::LoadOptions;
use super::states::States;
use crate::architecture::names::{ModelTensor, NamedWeights};
use crate::architecture::{AttentionSpec, KeyValueSource, LayerSpec, MixerSpec, ModelSpec};
use crate::backend::{AttentionShape, Backend, CachePrecision, Linear, Norm};
use crate::error::{Error, Result};
pub(super) use forward::embed;
use sequence::Sequence;

/// A decoder-only transformer. It may share its weights with others.
pub struct Transformer<B: Backend> {
    spec: ModelSpec,
    backend: Arc<B>,
    embedding: Arc<Linear<B>>,
    embedding_norm: Option<Arc<Norm<B>>>,
    layer_inputs: Option<Arc<LayerInputs<B>>>,
    streams: Option<Arc<Streams<B>>>,
    positions: Option<Arc<B::Matrix>>,
    layers: Vec<Arc<Layer<B>>>,
    final_norm: Arc<Norm<B>>,
    head: Arc<Linear<B>>,
    sequences: HashMap<SequenceId, Sequence<B>>,
    info: ModelInfo,
    /// How keys and values are kept.
    cache_precision: CachePrecision,
}

impl<B: Backend> Transformer<B> {
    /// Brings a checkpoint's weights to a backend.
    pub fn load(
        mut spec: ModelSpec,
        backend: B,
        weights: &NamedWeights<'_>,
        options: &LoadOptions,
    ) -> Result<Self> {
        let wanted = options.context_length.unwrap_or(spec.context_length);
        // A table of positions can't be read past its end; rotations can.
        if wanted > spec.context_length && spec.learned_positions {
            let expected = format!("at most {} for this model", spec.context_length);
            return Err(Error::invalid("context_length", wanted, expected));
        }
        if wanted > spec.context_length {
            tracing::warn!(
                "a context of {wanted} tokens is longer than the {} that the model was made for",
                spec.context_length
            );
        }
        let mut loader = Loader::new(&spec, &backend, weights, options.progress.as_ref());
        let hidden = spec.hidden_size;
        let embedding =
            Arc::new(loader.linear(ModelTensor::Embedding, spec.vocab_size, hidden, false)?);
        let embedding_norm = spec
            .embedding_norm
            .then(|| loader.uniform_norm(hidden, 1.0).map(Arc::new))
            .transpose()?;
        let layer_inputs = spec
            .layer_inputs
            .map(|inputs| LayerInputs::load(&mut loader, inputs))
            .transpose()?;
        let streams = spec
            .streams
            .map(|streams| Streams::load(&mut loader, streams.count).map(Arc::new))
            .transpose()?;
        let positions = spec
            .learned_positions
            .then(|| loader.positions().map(Arc::new))
            .transpose()?;
        let layers = (0..spec.layers.len())
            .map(|layer| Layer::load(&mut loader, layer).map(Arc::new))
            .collect::<Result<Vec<_>>>()?;
        let final_norm = Arc::new(loader.norm(ModelTensor::FinalNorm, hidden)?);
        let head = loader.head(&embedding)?;
        let cache_precision = match options.kv_cache {
            CachePrecision::Auto => backend.cache_precision(loader.most_common_storage()),
            chosen => chosen,
        };
        // What the device can't keep is refused now, not with the first prompt.
        let shapes = cached_shapes(&layers);
        drop(backend.kv_cache(&shapes, cache_precision, wanted)?);
        let bytes =
            |shape: &AttentionShape| 2 * shape.kv_heads * cache_precision.bytes(shape.head_dim);
        let info = ModelInfo {
            context_length: wanted,
            cache_bytes_per_token: shapes.iter().map(bytes).sum(),
            ..loader.info()
        };
        spec.context_length = wanted;
        Ok(Self {
            spec,
            backend: Arc::new(backend),
            embedding,
            embedding_norm,
            layer_inputs,
            streams,
            positions,
            layers,
            final_norm,
            head,
            sequences: HashMap::new(),
            info,
            cache_precision,
        })
    }

    /// What the model is made of.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The same weights, with these layers alone.
    fn of_layers(&self, layers: &[usize]) -> Result<Self> {
        let known = self.layers.len();
        if let Some(layer) = layers.iter().find(|layer| **layer >= known) {
            let expected = format!("layers of the target, which are 0 to {}", known - 1);
            return Err(Error::invalid("draft", format!("self:{layer}"), expected));
        }
        let mut spec = self.spec.clone();
        spec.layers = self.specs_of(layers)?;
        Ok(Self {
            spec,
            backend: self.backend.clone(),
            embedding: self.embedding.clone(),
            embedding_norm: self.embedding_norm.clone(),
            layer_inputs: self.layer_inputs.clone(),
            streams: self.streams.clone(),
            positions: self.positions.clone(),
            layers: layers
                .iter()
                .map(|layer| self.layers[*layer].clone())
                .collect(),
            final_norm: self.final_norm.clone(),
            head: self.head.clone(),
            sequences: HashMap::new(),
            info: ModelInfo {
                // Nothing that the model doesn't hold already.
                bytes: 0,
                ..self.info.clone()
            },
            cache_precision: self.cache_precision,
        })
    }

    /// The specifications of these layers in a model of them alone.
    fn specs_of(&self, layers: &[usize]) -> Result<Vec<LayerSpec>> {
        let spec = |(index, number): (usize, &usize)| {
            let mut spec = self.spec.layers[*number];
            if let MixerSpec::Attention(AttentionSpec {
                source: KeyValueSource::Layer(lender),
                ..
            }) = &mut spec.mixer
            {
                let own = layers[..index].iter().position(|layer| layer == lender);
                *lender = own.ok_or_else(|| {
                    let found = format!("self:{number} without {lender} before it");
                    let expected =
                        format!("layer {lender} too, whose keys and values layer {number} uses");
                    Error::invalid("draft", found, expected)
                })?;
            }
            Ok(spec)
        };
        layers.iter().enumerate().map(spec).collect()
    }

    fn new_sequence(&self) -> Result<Sequence<B>> {
        let cache = self.backend.kv_cache(
            &cached_shapes(&self.layers),
            self.cache_precision,
            self.spec.context_length,
        )?;
        let states = States::new(self.layers.iter().flat_map(|layer| layer.states()));
        Ok(Sequence::new(cache, states))
    }
}

/// The shapes of the layers that keep keys and values, which grow with a sequence.
fn cached_shapes<B: Backend>(layers: &[Arc<Layer<B>>]) -> Vec<AttentionShape> {
    let cached = layers.iter().filter_map(|layer| layer.cached_shape());
    cached.collect()
}
