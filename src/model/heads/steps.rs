//! Heads that draft token by token: a layer reads a token's embedding and the feature of the token before it.
//!
//! The feature is made of the target's hidden states or, after tokens that the target has not seen, what the head itself
//! gave for that token.

use std::sync::Arc;

use super::{DraftHead, HeadSequence};
use crate::architecture::ModelSpec;
use crate::backend::{
    AttentionShape, Backend, Batch, CachePrecision, Mask, OutputTiles, Segment, StorageType,
};
use crate::error::{Error, Result};
use crate::model::host::read;
use crate::model::info::ModelInfo;
use crate::model::pass::Pass;

/// The weights of a head, and what it computes.
pub(super) trait Weights<B: Backend>: Send + Sync {
    /// The target's hidden states of some tokens as features, `[rows, hidden]`.
    fn features(&self, captured: B::Activations) -> Result<B::Activations>;

    /// The head's states after tokens that follow these features, `[rows, hidden]`.
    fn forward(
        &self,
        tokens: &[u32],
        features: B::Activations,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations>;

    /// The logits of one state, or some of them, and the feature that the next token has.
    fn finish(
        &self,
        state: B::Activations,
        among: Option<&OutputTiles>,
    ) -> Result<(B::Activations, B::Activations)>;
}

/// A head that drafts token by token.
pub(super) struct StepHead<B: Backend, W>(Arc<Loaded<B, W>>);

/// What a head has loaded.
pub(super) struct Loaded<B: Backend, W> {
    pub(super) weights: W,
    /// The head's shape; its ropes and its context length count.
    pub(super) spec: ModelSpec,
    pub(super) backend: Arc<B>,
    /// The keys and values of its layer.
    pub(super) cached: AttentionShape,
    /// Layers of the target before which its hidden states are captured.
    pub(super) captured: Vec<usize>,
    /// How many values of hidden states the target has for a token.
    pub(super) feature_width: usize,
    /// The target's token of each of the head's, where it has fewer.
    pub(super) to_target: Option<Vec<u32>>,
    pub(super) info: ModelInfo,
}

impl<B: Backend, W: Weights<B>> StepHead<B, W> {
    /// A head of these weights.
    pub(super) fn new(loaded: Loaded<B, W>) -> Result<Self> {
        // What the backend can't keep is refused now, not with the first prompt.
        drop(loaded.kv_cache()?);
        Ok(Self(Arc::new(loaded)))
    }
}

impl<B: Backend, W> Loaded<B, W> {
    /// The one layer's keys and values, which are few, are held as those of unquantized weights.
    fn kv_cache(&self) -> Result<B::KvCache> {
        let precision = self.backend.cache_precision(StorageType::F32);
        debug_assert_ne!(precision, CachePrecision::Auto);
        let context = self.spec.context_length;
        Ok(self.backend.kv_cache(&[self.cached], precision, context)?)
    }
}

impl<B: Backend, W: Weights<B> + 'static> DraftHead for StepHead<B, W> {
    fn captured_layers(&self) -> &[usize] {
        &self.0.captured
    }

    fn width(&self) -> usize {
        self.0.feature_width
    }

    fn to_target(&self) -> Option<&[u32]> {
        self.0.to_target.as_deref()
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
struct Sequence<B: Backend, W> {
    head: Arc<Loaded<B, W>>,
    cache: B::KvCache,
    length: usize,
    last: Last<B>,
}

/// What is known after the last token.
enum Last<B: Backend> {
    /// Nothing: there is none, or it was forgotten.
    None,
    /// The head's state.
    State(B::Activations),
    /// The feature that the next token has.
    Feature(B::Activations),
}

impl<B: Backend, W: Weights<B>> Sequence<B, W> {
    fn extend(&mut self, tokens: &[u32], features: B::Activations) -> Result<()> {
        let head = &*self.head;
        let backend = &*head.backend;
        let segments = [Segment {
            past: self.length,
            first_row: 0,
            rows: tokens.len(),
            mask: Mask::Causal,
            provisional: 0,
            is_stretched: false,
        }];
        let batch = Batch {
            segments: &segments,
            ancestors: &[],
        };
        let step = backend.begin(batch, &head.spec.ropes)?;
        let mut pass = Pass {
            backend,
            step: &step,
            batch,
            caches: &mut [&mut self.cache],
            states: &mut [],
            inputs: None,
        };
        let states = head.weights.forward(tokens, features, &mut pass)?;
        self.last = Last::State(backend.select(&states, &[tokens.len() - 1])?);
        self.length += tokens.len();
        Ok(())
    }

    /// Computes the logits after the last token, and keeps the feature of the next one.
    fn finish(&mut self, among: Option<&OutputTiles>) -> Result<B::Activations> {
        let Last::State(state) = std::mem::replace(&mut self.last, Last::None) else {
            return Err(Error::Compute("a head has no last token".into()));
        };
        let (logits, feature) = self.head.weights.finish(state, among)?;
        self.last = Last::Feature(feature);
        Ok(logits)
    }
}

impl<B: Backend, W: Weights<B>> HeadSequence for Sequence<B, W> {
    fn read(&mut self, tokens: &[u32], features: &[f32]) -> Result<()> {
        let head = &*self.head;
        let width = head.feature_width;
        if tokens.is_empty() || features.len() != tokens.len() * width {
            let (found, rows) = (features.len(), tokens.len());
            let reason = format!("{found} features where {rows} rows of {width} were due");
            return Err(Error::Compute(reason));
        }
        let captured = head.backend.rows(features, width)?;
        let features = head.weights.features(captured)?;
        self.extend(tokens, features)
    }

    fn draft(&mut self, token: u32) -> Result<()> {
        if matches!(self.last, Last::State(_)) {
            self.finish(None)?;
        }
        match std::mem::replace(&mut self.last, Last::None) {
            Last::Feature(feature) => self.extend(&[token], feature),
            Last::State(_) | Last::None => Err(Error::Compute("a head has no last token".into())),
        }
    }

    fn logits(&mut self, among: Option<&OutputTiles>) -> Result<Vec<f32>> {
        let logits = self.finish(among)?;
        read(&*self.head.backend, logits)
    }

    fn truncate(&mut self, length: usize) {
        if length < self.length {
            self.length = length;
            self.last = Last::None;
        }
    }

    fn room(&self) -> usize {
        self.head.spec.context_length.saturating_sub(self.length)
    }
}
