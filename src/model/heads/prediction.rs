//! Multi-token prediction (2404.19737, 2412.19437): the layer after a model's last one that predicts one more token.
//!
//! For a token it reads the embedding and the target's state of the token before it, after the last norm, each after a norm of
//! its own, through one matrix; then comes an ordinary layer. For a second token it reads what it gave itself.

use std::path::Path;
use std::sync::Arc;

use super::embedding::Embedding;
use super::steps::{Loaded, StepHead, Weights};
use super::{OutputHead, TargetParts};
use crate::architecture::ModelSpec;
use crate::architecture::names::{LayerTensor, NamedWeights};
use crate::backend::{Backend, Linear, Norm, OutputTiles};
use crate::error::{Error, Result};
use crate::model::layer::Layer;
use crate::model::loader::Loader;
use crate::model::mixer::Slot;
use crate::model::open_model::OpenModel;
use crate::model::pass::Pass;
use crate::progress::Silent;

/// Opened files with a layer that predicts further tokens.
pub struct PredictionFiles {
    opened: OpenModel,
    /// The model's shape, with that layer as the last.
    spec: ModelSpec,
    /// Whether they are the target's own.
    is_targets: bool,
}

impl PredictionFiles {
    /// The layer in a model's own files; `None`: there is none.
    pub(super) fn within(opened: OpenModel) -> Result<Option<Self>> {
        Self::find(opened, true)
    }

    /// Whether a model's own files hold the layer.
    pub(super) fn are_within(opened: &OpenModel) -> Result<bool> {
        let spec = opened.spec()?.with_prediction_layer();
        Ok(spec.is_some_and(|spec| weights(opened, &spec).has_prediction()))
    }

    /// Whether files hold no model, for want of a first layer, but maybe that layer.
    pub(super) fn are_alone(opened: &OpenModel) -> bool {
        let names = opened.checkpoint().names();
        let is_first = |name: &&str| name.starts_with("blk.0.") || name.contains("layers.0.");
        let is_prediction = |name: &str| name.contains("mtp.");
        !names
            .iter()
            .any(|name| is_first(name) && !is_prediction(name))
            && names
                .iter()
                .any(|name| is_prediction(name) || name.contains("eh_proj"))
    }

    /// The layer in files of its own.
    pub(super) fn open(opened: OpenModel) -> Result<Self> {
        let source = opened.source().display().to_string();
        Self::find(opened, false)?.ok_or_else(|| {
            let reason =
                "it has a layer for multi-token prediction, of a kind that is not supported";
            Error::unsupported(source, reason)
        })
    }

    fn find(opened: OpenModel, is_targets: bool) -> Result<Option<Self>> {
        let Some(spec) = opened.spec()?.with_prediction_layer() else {
            return Ok(None);
        };
        let is_there = weights(&opened, &spec).has_prediction();
        Ok(is_there.then_some(Self {
            opened,
            spec,
            is_targets,
        }))
    }

    /// What reports call it, and what names it as a draft.
    pub const KIND: &'static str = "mtp";

    /// The file or folder.
    pub(super) fn source(&self) -> &Path {
        self.opened.source()
    }

    /// The hidden size and the vocabulary size of its targets.
    pub(super) fn target_shape(&self) -> [usize; 2] {
        [self.spec.hidden_size, self.spec.vocab_size]
    }

    fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::unsupported(self.source().display().to_string(), reason)
    }
}

fn weights<'a>(opened: &'a OpenModel, spec: &'a ModelSpec) -> NamedWeights<'a> {
    NamedWeights::of_prediction(opened.checkpoint(), spec, opened.is_gguf(), opened.source())
}

/// A head.
type Prediction<B> = StepHead<B, PredictionWeights<B>>;

/// A head's weights.
pub(super) struct PredictionWeights<B: Backend> {
    embedding: Embedding<B>,
    embedding_norm: Norm<B>,
    state_norm: Norm<B>,
    /// The columns that multiply the embedding, and those that multiply the state.
    of_embedding: Linear<B>,
    of_state: Linear<B>,
    layer: Layer<B>,
    final_norm: Arc<Norm<B>>,
    head: OutputHead<B>,
    backend: Arc<B>,
}

/// Brings a head's weights to its target's backend.
pub(super) fn load<B: Backend>(
    files: &PredictionFiles,
    target: &TargetParts<'_, B>,
) -> Result<Prediction<B>> {
    use LayerTensor as T;
    let mut spec = files.spec.clone();
    let hidden = spec.hidden_size;
    spec.context_length = target.spec.context_length;
    let weights = weights(&files.opened, &files.spec);
    let mut loader = Loader::new(&spec, &**target.backend, &weights, &Silent);
    if !files.is_targets {
        loader = loader.of_head(target.matrices());
    }
    let index = spec.layers.len() - 1;
    let shape = [hidden, 2 * hidden];
    let layer = Layer::load(&mut loader, index)?;
    let cached = layer.cached_shape();
    let cached = cached.ok_or_else(|| files.unsupported("its layer is no attention"))?;
    let final_norm = loader.optional_layer_norm(index, T::PredictionNorm, hidden)?;
    let weights = PredictionWeights {
        embedding: match loader.prediction_embedding(index)? {
            Some(own) => Embedding::Own(own),
            None => Embedding::of_target(target),
        },
        embedding_norm: loader.layer_norm(index, T::PredictionEmbeddingNorm, hidden)?,
        state_norm: loader.layer_norm(index, T::PredictionStateNorm, hidden)?,
        of_embedding: loader.layer_columns(index, T::PredictionInput, shape, 0..hidden)?,
        of_state: loader.layer_columns(index, T::PredictionInput, shape, hidden..2 * hidden)?,
        layer,
        final_norm: final_norm.map_or_else(|| target.final_norm.clone(), Arc::new),
        head: match loader.prediction_head(index)? {
            Some(_) if spec.vocab_size != target.spec.vocab_size => {
                let (own, theirs) = (spec.vocab_size, target.spec.vocab_size);
                let reason = format!("its own head has {own} tokens, and the target {theirs}");
                return Err(files.unsupported(reason));
            }
            Some(own) => OutputHead::own(own),
            None => target.output_head(),
        },
        backend: target.backend.clone(),
    };
    let info = target.info(PredictionFiles::KIND, loader.info().parameters);
    StepHead::new(Loaded {
        weights,
        backend: target.backend.clone(),
        cached: vec![cached],
        captured: vec![target.spec.layers.len()],
        feature_width: hidden,
        to_target: None,
        info,
        spec,
    })
}

impl<B: Backend> Weights<B> for PredictionWeights<B> {
    fn features(&self, captured: &[f32], width: usize) -> Result<B::Activations> {
        Ok(self.backend.rows(captured, width)?)
    }

    fn forward(
        &self,
        tokens: &[u32],
        features: B::Activations,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let embedded = self.embedding.rows(backend, tokens)?;
        let [x] = backend.project(&embedded, &self.embedding_norm, [&self.of_embedding])?;
        let state = backend.norm(&features, &self.state_norm)?;
        let x = backend.linear_add(&state, &self.of_state, None, &x)?;
        self.layer.forward(&x, Slot { cache: 0, state: 0 }, pass)
    }

    fn finish(
        &self,
        state: B::Activations,
        among: Option<&OutputTiles>,
    ) -> Result<(B::Activations, B::Activations)> {
        let backend = &*self.backend;
        let state = backend.norm(&state, &self.final_norm)?;
        let logits = self.head.logits(backend, &state, among)?;
        Ok((logits, state))
    }
}
