//! Assistants of Gemma 4: a few layers that read the target's keys and values, and have none of their own.
//!
//! For a token an assistant reads the target's embedding of it, and the target's state of the token before it, after the last
//! norm. Its layers attend to what the target's last layers with keys and values of their own have of the text: one of full,
//! one of sliding attention. For a second token it reads what it gave itself, at the same position.
//!
//! These keys and values are computed again, from the residual stream before those two layers: so a head asks a target for
//! hidden states alone, and its positions count from where it began to read.

mod clusters;
mod files;

use std::sync::Arc;

use super::embedding::Embedding;
use super::output_head::OutputHead;
use super::sequence::{captured, kv_cache, no_last_token, run};
use super::tensors::HeadTensors;
use super::{DraftHead, HeadSequence, TargetParts};
use crate::architecture::names::{ModelTensor, NamedWeights};
use crate::architecture::{MixerSpec, ModelSpec};
use crate::backend::{AttentionShape, Backend, Linear, Mask, Norm, OutputTiles};
use crate::error::Result;
use crate::model::host::read;
use crate::model::info::ModelInfo;
use crate::model::layer::Layer;
use crate::model::loader::Loader;
use crate::model::mixer::Slot;
use crate::progress::Silent;
use clusters::Clusters;
pub use files::AssistantFiles;

/// A head.
pub(super) struct Assistant<B: Backend>(Arc<Loaded<B>>);

struct Loaded<B: Backend> {
    backend: Arc<B>,
    spec: ModelSpec,
    target_spec: ModelSpec,
    /// The target's layers whose keys and values are read.
    lenders: Vec<Arc<Layer<B>>>,
    cached: Vec<AttentionShape>,
    /// Before the lenders, and after the last norm.
    captured: Vec<usize>,
    embedding: Embedding<B>,
    /// The columns that multiply the embedding, and those that multiply the state.
    of_embedding: Linear<B>,
    of_state: Linear<B>,
    /// Each layer, and the number of its lender.
    layers: Vec<(Layer<B>, usize)>,
    final_norm: Norm<B>,
    head: OutputHead<B>,
    clusters: Option<Clusters<B>>,
    /// From the last norm to the state that the next token has.
    to_state: Linear<B>,
    info: ModelInfo,
}

/// Brings a head's weights to its target's backend.
pub(super) fn load<B: Backend>(
    files: &AssistantFiles,
    target: &TargetParts<'_, B>,
) -> Result<Assistant<B>> {
    let mut spec = files.spec.clone();
    spec.context_length = target.spec.context_length;
    let slides = |mixer: &MixerSpec| mixer.attention().is_some_and(|own| own.window.is_some());
    let slides: Vec<bool> = spec
        .layers
        .iter()
        .map(|layer| slides(&layer.mixer))
        .collect();
    for layer in &mut spec.layers {
        // A row sees the window's tokens before its own, which is not among the keys, and one more.
        if let MixerSpec::Attention(attention) = &mut layer.mixer {
            attention.window = attention.window.map(|window| window.saturating_add(2));
        }
    }
    let lenders = slides
        .iter()
        .filter_map(|slides| files::lender(target.spec, *slides));
    let lenders: Vec<usize> = lenders.collect();
    let mut captured = lenders.clone();
    captured.sort_unstable();
    captured.dedup();
    let number = |lender: usize| captured.iter().position(|layer| *layer == lender);
    let numbers: Vec<usize> = lenders
        .iter()
        .filter_map(|lender| number(*lender))
        .collect();
    let lenders: Vec<_> = captured
        .iter()
        .map(|layer| target.layers[*layer].clone())
        .collect();
    captured.push(target.layers.len());

    let (hidden, wide, tokens) = (spec.hidden_size, files.target_width, spec.vocab_size);
    let tensors = HeadTensors {
        checkpoint: files.checkpoint(),
        source: files.source(),
        norm: spec.norm,
        hidden_size: hidden,
        target,
    };
    let weights = NamedWeights::new(
        files.checkpoint(),
        &spec,
        files.opened.is_gguf(),
        files.source(),
    )?;
    let mut loader =
        Loader::new(&spec, &**target.backend, &weights, &Silent).of_head(target.matrices());
    let layers = numbers.iter().enumerate();
    let layers = layers.map(|(index, lender)| Ok((Layer::load(&mut loader, index)?, *lender)));
    let layers = layers.collect::<Result<Vec<_>>>()?;
    let final_norm = loader.norm(ModelTensor::FinalNorm, hidden)?;
    let table = loader.linear(ModelTensor::Embedding, tokens, hidden, false)?;
    let head = loader.head(&Arc::new(table))?;
    let names = files.names();
    let clusters = files
        .clusters
        .map(|clusters| Clusters::load(files, clusters, &tensors));
    let head = Loaded {
        backend: target.backend.clone(),
        target_spec: target.spec.clone(),
        cached: lenders
            .iter()
            .filter_map(|layer| layer.cached_shape())
            .collect(),
        lenders,
        captured,
        embedding: Embedding::of_target(target),
        of_embedding: tensors.part(names.input, hidden, 2 * wide, 0..wide)?,
        of_state: tensors.part(names.input, hidden, 2 * wide, wide..2 * wide)?,
        layers,
        final_norm,
        head: OutputHead {
            linear: head,
            scale: spec.logit_scale,
            softcap: spec.logit_softcap,
        },
        clusters: clusters.transpose()?,
        to_state: tensors.linear(names.output, wide, 0..hidden)?,
        info: target.info(AssistantFiles::KIND, tensors.elements()),
        spec,
    };
    // What the backend can't keep is refused now, not with the first prompt.
    drop(head.kv_cache()?);
    Ok(Assistant(head.into()))
}

impl<B: Backend> Loaded<B> {
    fn kv_cache(&self) -> Result<B::KvCache> {
        kv_cache(&*self.backend, &self.cached, self.spec.context_length)
    }

    /// How many values a hidden state of the target has.
    fn target_width(&self) -> usize {
        self.target_spec.hidden_size
    }
}

impl<B: Backend> DraftHead for Assistant<B> {
    fn captured_layers(&self) -> &[usize] {
        &self.0.captured
    }

    fn width(&self) -> usize {
        self.0.captured.len() * self.0.target_width()
    }

    fn to_target(&self) -> Option<&[u32]> {
        None
    }

    fn begin(&self) -> Result<Box<dyn HeadSequence>> {
        Ok(Box::new(Sequence {
            cache: self.0.kv_cache()?,
            head: self.0.clone(),
            length: 0,
            last: Last::None,
        }))
    }

    fn info(&self) -> ModelInfo {
        self.0.info.clone()
    }
}

/// One sequence of a head.
struct Sequence<B: Backend> {
    head: Arc<Loaded<B>>,
    cache: B::KvCache,
    /// The tokens whose keys and values it has: the last token is not among them.
    length: usize,
    last: Last<B>,
}

/// What is known of the last token.
enum Last<B: Backend> {
    /// Nothing: there is none, or it was forgotten.
    None,
    /// It, and the state of the token before it.
    Token(u32, B::Activations),
    /// The head's own state after it.
    State(B::Activations),
}

impl<B: Backend> Sequence<B> {
    /// The head's state after the last token, `[1, hidden]`.
    fn state(&mut self) -> Result<&B::Activations> {
        if let Last::Token(token, before) = &self.last {
            let (head, token, position) = (&*self.head, *token, self.length);
            let of = (&*head.backend, &head.spec);
            let state = run(of, &mut self.cache, position, (1, Mask::Past), |pass| {
                let backend = pass.backend;
                let embedded = head.embedding.rows(backend, &[token])?;
                let x = backend.linear(&embedded, &head.of_embedding)?;
                let mut x = backend.linear_add(before, &head.of_state, None, &x)?;
                for (layer, cache) in &head.layers {
                    let (cache, state) = (*cache, 0);
                    x = layer.forward(&x, Slot { cache, state }, pass)?;
                }
                Ok(backend.norm(&x, &head.final_norm)?)
            })?;
            self.last = Last::State(state);
        }
        match &self.last {
            Last::State(state) => Ok(state),
            Last::Token(..) | Last::None => Err(no_last_token()),
        }
    }
}

impl<B: Backend> HeadSequence for Sequence<B> {
    fn append(&mut self, tokens: &[u32], features: &[f32]) -> Result<()> {
        let (head, rows) = (&*self.head, tokens.len());
        let (backend, wide) = (&*head.backend, head.target_width());
        // Of one captured layer, for all tokens.
        let of_layer = |layer: usize| {
            let states = features.chunks_exact(wide).skip(layer);
            let states: Vec<f32> = states
                .step_by(head.captured.len())
                .flatten()
                .copied()
                .collect();
            captured(backend, tokens, &states, wide)
        };
        let states = of_layer(head.lenders.len())?;
        let of = (backend, &head.target_spec);
        run(
            of,
            &mut self.cache,
            self.length,
            (rows, Mask::Causal),
            |pass| {
                let mut lenders = head.lenders.iter().enumerate();
                lenders.try_for_each(|(cache, layer)| {
                    layer.append_stream(&of_layer(cache)?, Slot { cache, state: 0 }, pass)
                })
            },
        )?;
        let before = backend.select(&states, &[rows - 1])?;
        self.last = Last::Token(tokens[rows - 1], before);
        self.length += rows;
        Ok(())
    }

    fn draft(&mut self, token: u32) -> Result<()> {
        let head = self.head.clone();
        let before = head.backend.linear(self.state()?, &head.to_state)?;
        self.last = Last::Token(token, before);
        Ok(())
    }

    fn logits(&mut self, among: Option<&OutputTiles>) -> Result<Vec<f32>> {
        let head = self.head.clone();
        let backend = &*head.backend;
        let state = self.state()?;
        let mut logits = read(backend, head.head.logits(backend, state, among)?)?;
        if let Some(clusters) = &head.clusters {
            clusters.keep_nearest(backend, state, among, &mut logits)?;
        }
        Ok(logits)
    }

    fn truncate(&mut self, length: usize) {
        // What was drafted is forgotten, too.
        self.length = self.length.min(length);
        self.last = Last::None;
    }

    fn room(&self) -> usize {
        self.head.spec.context_length.saturating_sub(self.length)
    }
}
