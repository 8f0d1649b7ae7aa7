//! Heads that draft token by token: a layer reads a token's embedding and the feature of the token before it.
//!
//! The feature is made of the target's hidden states or, after tokens that the target has not seen, what the head itself
//! gave for that token.

use std::sync::Arc;

use super::sequence::{check_features, kv_cache, no_last_token, run};
use super::{DraftHead, HeadSequence};
use crate::architecture::ModelSpec;
use crate::backend::{AttentionShape, Backend, Mask, OutputTiles};
use crate::error::Result;
use crate::model::host::read;
use crate::model::info::ModelInfo;
use crate::model::pass::Pass;

/// The weights of a head, and what it computes.
pub(super) trait Weights<B: Backend>: Send + Sync {
    /// Whether a token's state depends on the tokens before it: if not, the last one alone is computed.
    const HAS_ATTENTION: bool = true;

    /// The target's hidden states of some tokens, `[rows][width]`, as features, `[rows, hidden]`.
    fn features(&self, captured: &[f32], width: usize) -> Result<B::Activations>;

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
    /// The keys and values of its layers.
    pub(super) cached: Vec<AttentionShape>,
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
    pub(super) fn kv_cache(&self) -> Result<B::KvCache> {
        kv_cache(&*self.backend, &self.cached, self.spec.context_length)
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
        let (of, rows) = ((&*head.backend, &head.spec), (tokens.len(), Mask::Causal));
        let last = run(of, &mut self.cache, self.length, rows, |pass| {
            let states = head.weights.forward(tokens, features, pass)?;
            Ok(pass.backend.select(&states, &[tokens.len() - 1])?)
        })?;
        self.last = Last::State(last);
        self.length += tokens.len();
        Ok(())
    }

    /// Computes the logits after the last token, and keeps the feature of the next one.
    fn finish(&mut self, among: Option<&OutputTiles>) -> Result<B::Activations> {
        let Last::State(state) = std::mem::replace(&mut self.last, Last::None) else {
            return Err(no_last_token());
        };
        let (logits, feature) = self.head.weights.finish(state, among)?;
        self.last = Last::Feature(feature);
        Ok(logits)
    }
}

impl<B: Backend, W: Weights<B>> HeadSequence for Sequence<B, W> {
    fn append(&mut self, tokens: &[u32], features: &[f32]) -> Result<()> {
        let width = self.head.feature_width;
        check_features(tokens, features, width)?;
        let skipped = match W::HAS_ATTENTION {
            true => 0,
            false => tokens.len() - 1,
        };
        let features = &features[skipped * width..];
        let features = self.head.weights.features(features, width)?;
        self.length += skipped;
        self.extend(&tokens[skipped..], features)
    }

    fn draft(&mut self, token: u32) -> Result<()> {
        if matches!(self.last, Last::State(_)) {
            self.finish(None)?;
        }
        match std::mem::replace(&mut self.last, Last::None) {
            Last::Feature(feature) => self.extend(&[token], feature),
            Last::State(_) | Last::None => Err(no_last_token()),
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
