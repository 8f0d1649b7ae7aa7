//! The head that `specdec distill` makes: a gated MLP over a token's embedding and a state, without attention.
//!
//! The target's hidden states of a token, of several layers, each after a norm of its own, give a state through one matrix.
//! The MLP takes the state, and the embedding of the token that follows, to the next state; a last norm and a matrix over the
//! head's own tokens give its logits. After a token that the target has not seen, the state is the head's own. As there is no
//! attention, a state depends on nothing earlier: of tokens that the target has processed, the last one counts alone.

mod files;

use std::sync::Arc;

use super::embedding::Embedding;
use super::steps::{Loaded, StepHead, Weights};
use super::tensors::HeadTensors;
use super::{OutputHead, TargetParts};
use crate::architecture::ModelSpec;
use crate::backend::{Activation, Backend, Linear, Norm, NormKind, OutputTiles};
use crate::error::Result;
use crate::model::pass::Pass;
pub use files::{RecurrentConfig, RecurrentFiles, tensors};

/// A head's weights.
pub(super) struct RecurrentWeights<B: Backend> {
    backend: Arc<B>,
    /// Of each of the layers that it reads.
    taps: Vec<Tap<B>>,
    embedding: Embedding<B>,
    embedding_norm: Norm<B>,
    state_norm: Norm<B>,
    gate: Halves<B>,
    up: Halves<B>,
    down: Linear<B>,
    final_norm: Norm<B>,
    head: OutputHead<B>,
}

/// How one layer's hidden states enter a state.
struct Tap<B: Backend> {
    norm: Norm<B>,
    fusion: Linear<B>,
}

/// A matrix over an embedding and a state.
struct Halves<B: Backend> {
    of_embedding: Linear<B>,
    of_state: Linear<B>,
}

/// Brings a head's weights to its target's backend.
pub(super) fn load<B: Backend>(
    files: &RecurrentFiles,
    target: &TargetParts<'_, B>,
) -> Result<StepHead<B, RecurrentWeights<B>>> {
    let config = &files.config;
    let (hidden, width) = (config.hidden_size, config.intermediate_size);
    let tensors = HeadTensors {
        checkpoint: &*files.checkpoint,
        source: &files.source,
        norm: NormKind::Rms(config.rms_norm_eps),
        hidden_size: hidden,
        target,
    };
    let fused = config.target_layers.len() * hidden;
    let tap = |index: usize| {
        let columns = index * hidden..(index + 1) * hidden;
        Ok(Tap {
            norm: tensors.norm(&tensors::tap_norm(index), hidden)?,
            fusion: tensors.part(tensors::FUSION, hidden, fused, columns)?,
        })
    };
    let halves = |name| -> Result<Halves<B>> {
        Ok(Halves {
            of_embedding: tensors.part(name, width, 2 * hidden, 0..hidden)?,
            of_state: tensors.part(name, width, 2 * hidden, hidden..2 * hidden)?,
        })
    };
    let to_target = tensors.to_target(target.spec.vocab_size)?;
    let weights = RecurrentWeights {
        backend: target.backend.clone(),
        taps: (0..config.target_layers.len())
            .map(tap)
            .collect::<Result<_>>()?,
        embedding: Embedding::of_target(target),
        embedding_norm: tensors.norm(tensors::EMBEDDING_NORM, hidden)?,
        state_norm: tensors.norm(tensors::STATE_NORM, hidden)?,
        gate: halves(tensors::GATE)?,
        up: halves(tensors::UP)?,
        down: tensors.linear(tensors::DOWN, hidden, 0..width)?,
        final_norm: tensors.norm(tensors::FINAL_NORM, hidden)?,
        head: OutputHead::of_tokens(target, to_target.as_deref())?,
    };
    StepHead::new(Loaded {
        weights,
        backend: target.backend.clone(),
        cached: Vec::new(),
        captured: config.target_layers.clone(),
        feature_width: fused,
        to_target,
        info: target.info(RecurrentFiles::KIND, tensors.elements()),
        spec: ModelSpec {
            ropes: Vec::new(),
            ..target.spec.clone()
        },
    })
}

impl<B: Backend> Weights<B> for RecurrentWeights<B> {
    const HAS_ATTENTION: bool = false;

    fn features(&self, captured: &[f32], width: usize) -> Result<B::Activations> {
        let backend = &*self.backend;
        // There is one row.
        let hidden = width / self.taps.len();
        let mut state = None;
        for (tap, values) in self.taps.iter().zip(captured.chunks_exact(hidden)) {
            let normed = backend.norm(&backend.rows(values, hidden)?, &tap.norm)?;
            state = Some(match state {
                None => backend.linear(&normed, &tap.fusion)?,
                Some(sum) => backend.linear_add(&normed, &tap.fusion, None, &sum)?,
            });
        }
        state.ok_or_else(super::sequence::no_last_token)
    }

    fn forward(
        &self,
        tokens: &[u32],
        state: B::Activations,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let embedded = self.embedding.rows(backend, tokens)?;
        let linears = [&self.gate.of_embedding, &self.up.of_embedding];
        let [gate, up] = backend.project(&embedded, &self.embedding_norm, linears)?;
        let normed = backend.norm(&state, &self.state_norm)?;
        let gate = backend.linear_add(&normed, &self.gate.of_state, None, &gate)?;
        let up = backend.linear_add(&normed, &self.up.of_state, None, &up)?;
        let gated = backend.multiply(&backend.activate(gate, Activation::Silu)?, &up)?;
        Ok(backend.linear_add(&gated, &self.down, None, &state)?)
    }

    fn finish(
        &self,
        state: B::Activations,
        among: Option<&OutputTiles>,
    ) -> Result<(B::Activations, B::Activations)> {
        let backend = &*self.backend;
        let normed = backend.norm(&state, &self.final_norm)?;
        Ok((self.head.logits(backend, &normed, among)?, state))
    }
}
