//! Block drafters, which guess several tokens in one pass: DFlash (2602.06036) and DSpark.
//!
//! A head is a few layers. Their keys and values of the text are made of the target's hidden states alone, and are kept. A
//! block is the text's last token, for which there are no hidden states yet, and mask tokens; all of its rows see each other.
//! The states after the masks give the drafts. DSpark adds to each slot's logits what the token before it says (`markov`).

mod files;
mod markov;

use std::sync::Arc;

use super::embedding::Embedding;
use super::sequence::{captured, kv_cache, no_last_token, run};
use super::tensors::HeadTensors;
use super::{DraftHead, HeadSequence, OutputHead, TargetParts};
use crate::architecture::ModelSpec;
use crate::architecture::names::NamedWeights;
use crate::backend::{AttentionShape, Backend, Linear, Mask, Norm, OutputTiles};
use crate::error::{Error, Result};
use crate::model::host::read;
use crate::model::info::ModelInfo;
use crate::model::layer::Layer;
use crate::model::loader::Loader;
use crate::model::mixer::Slot;
use crate::progress::Silent;
pub use files::BlockFiles;
use markov::Markov;

/// A head.
pub(super) struct BlockHead<B: Backend>(Arc<Loaded<B>>);

struct Loaded<B: Backend> {
    backend: Arc<B>,
    spec: ModelSpec,
    cached: Vec<AttentionShape>,
    captured: Vec<usize>,
    feature_width: usize,
    fusion: Linear<B>,
    fusion_norm: Norm<B>,
    embedding: Embedding<B>,
    layers: Vec<Layer<B>>,
    final_norm: Norm<B>,
    head: OutputHead<B>,
    markov: Option<Markov<B>>,
    to_target: Option<Vec<u32>>,
    mask_token: u32,
    /// Rows of a block, and the first of them whose state gives a draft.
    block_size: usize,
    first_slot: usize,
    info: ModelInfo,
}

/// Brings a head's weights to its target's backend.
pub(super) fn load<B: Backend>(
    files: &BlockFiles,
    target: &TargetParts<'_, B>,
) -> Result<BlockHead<B>> {
    let mut spec = files.spec.clone();
    let hidden = spec.hidden_size;
    let vocab_size = target.spec.vocab_size;
    let captured = files.captured.clone();
    spec.context_length = target.spec.context_length;
    let tensors = HeadTensors {
        checkpoint: &*files.checkpoint,
        source: &files.source,
        norm: spec.norm,
        hidden_size: spec.hidden_size,
        target,
    };
    let feature_width = captured.len() * hidden;
    let weights = NamedWeights::of_layers(&*files.checkpoint, &spec, false, &files.source);
    let mut loader =
        Loader::new(&spec, &**target.backend, &weights, &Silent).of_head(target.matrices());
    let layers = (0..spec.layers.len()).map(|index| Layer::load(&mut loader, index));
    let layers = layers.collect::<Result<Vec<_>>>()?;
    let to_target = tensors.to_target(vocab_size)?;
    let tokens = to_target.as_ref().map_or(vocab_size, Vec::len);
    let head = OutputHead::of_files(&tensors, to_target.as_deref())?;
    let embedding = match tensors.has("embed_tokens.weight") {
        true => Embedding::Own(tensors.embedding(hidden)?),
        false => Embedding::of_target(target),
    };
    let markov = files
        .markov
        .map(|kind| Markov::load(&tensors, kind, hidden, tokens));
    let head = Loaded {
        backend: target.backend.clone(),
        cached: layers.iter().filter_map(Layer::cached_shape).collect(),
        captured,
        feature_width,
        fusion: tensors.linear("fc", hidden, 0..feature_width)?,
        fusion_norm: tensors.norm("hidden_norm", hidden)?,
        embedding,
        final_norm: tensors.norm("norm", hidden)?,
        head,
        markov: markov.transpose()?,
        to_target,
        mask_token: files.mask_token,
        block_size: files.block_size,
        first_slot: usize::from(!files.sample_from_anchor),
        info: target.info(files.kind(), tensors.elements()),
        layers,
        spec,
    };
    // What the backend can't keep is refused now, not with the first prompt.
    drop(head.kv_cache()?);
    Ok(BlockHead(head.into()))
}

impl<B: Backend> DraftHead for BlockHead<B> {
    fn captured_layers(&self) -> &[usize] {
        &self.0.captured
    }

    fn width(&self) -> usize {
        self.0.feature_width
    }

    fn to_target(&self) -> Option<&[u32]> {
        self.0.to_target.as_deref()
    }

    fn tokens_a_pass(&self) -> usize {
        self.0.slots()
    }

    fn begin(&self) -> Result<Box<dyn HeadSequence>> {
        Ok(Box::new(Sequence {
            cache: self.0.kv_cache()?,
            head: self.0.clone(),
            length: 0,
            anchor: None,
            guesses: None,
            drafted: Vec::new(),
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
    /// The tokens whose keys and values are made of the target's hidden states.
    length: usize,
    /// The token after those.
    anchor: Option<u32>,
    guesses: Option<Guesses<B>>,
    /// The tokens that were drafted after the anchor.
    drafted: Vec<u32>,
}

/// What a block gave.
struct Guesses<B: Backend> {
    /// `[slots, hidden]`
    states: B::Activations,
    /// The logits of each slot, without what the token before says.
    logits: Vec<f32>,
}

impl<B: Backend> Loaded<B> {
    fn kv_cache(&self) -> Result<B::KvCache> {
        kv_cache(&*self.backend, &self.cached, self.spec.context_length)
    }

    /// How many tokens a block drafts.
    fn slots(&self) -> usize {
        self.block_size - self.first_slot
    }
}

impl<B: Backend> Sequence<B> {
    /// Guesses a block's tokens, or their scores among some.
    fn guess(&mut self, among: Option<&OutputTiles>) -> Result<Guesses<B>> {
        let anchor = self.anchor.ok_or_else(no_last_token)?;
        let (rows, mask_token) = (self.head.block_size, self.head.mask_token);
        let mut tokens = vec![mask_token; rows];
        tokens[0] = anchor;
        let head = &*self.head;
        let of = (&*head.backend, &head.spec);
        run(
            of,
            &mut self.cache,
            self.length,
            (rows, Mask::Full),
            |pass| {
                let backend = pass.backend;
                let mut x = head.embedding.rows(backend, &tokens)?;
                for (cache, layer) in head.layers.iter().enumerate() {
                    x = layer.forward(&x, Slot { cache, state: 0 }, pass)?;
                }
                let slots: Vec<usize> = (head.first_slot..rows).collect();
                let states = backend.norm(&backend.select(&x, &slots)?, &head.final_norm)?;
                let logits = read(backend, head.head.logits(backend, &states, among)?)?;
                Ok(Guesses { states, logits })
            },
        )
    }
}

impl<B: Backend> HeadSequence for Sequence<B> {
    fn append(&mut self, tokens: &[u32], features: &[f32]) -> Result<()> {
        let (head, rows) = (&*self.head, tokens.len());
        let captured = captured(&*head.backend, tokens, features, head.feature_width)?;
        let of = (&*head.backend, &head.spec);
        run(
            of,
            &mut self.cache,
            self.length,
            (rows, Mask::Causal),
            |pass| {
                let backend = pass.backend;
                let x = backend.linear(&captured, &head.fusion)?;
                let x = backend.norm(&x, &head.fusion_norm)?;
                let mut layers = head.layers.iter().enumerate();
                layers
                    .try_for_each(|(cache, layer)| layer.append(&x, Slot { cache, state: 0 }, pass))
            },
        )?;
        self.length += rows;
        self.anchor = tokens.last().copied();
        self.guesses = None;
        self.drafted.clear();
        Ok(())
    }

    fn draft(&mut self, token: u32) -> Result<()> {
        self.drafted.push(token);
        Ok(())
    }

    fn logits(&mut self, among: Option<&OutputTiles>) -> Result<Vec<f32>> {
        if self.guesses.is_none() {
            self.guesses = Some(self.guess(among)?);
        }
        let (Some(guesses), Some(anchor)) = (&self.guesses, self.anchor) else {
            return Err(no_last_token());
        };
        let slot = self.drafted.len();
        let head = &*self.head;
        let tokens = guesses.logits.len() / head.slots();
        let own = guesses.logits.get(slot * tokens..(slot + 1) * tokens);
        let own = own.ok_or_else(|| Error::Compute("a block has no further slot".into()))?;
        let mut logits = own.to_vec();
        if let Some(markov) = &head.markov {
            let previous = self.drafted.last().copied().unwrap_or(anchor);
            markov.add(&*head.backend, previous, among, &mut logits)?;
        }
        Ok(logits)
    }

    fn confidence(&mut self) -> Result<Option<f32>> {
        let (Some(markov), Some(guesses), Some(anchor)) =
            (&self.head.markov, &self.guesses, self.anchor)
        else {
            return Ok(None);
        };
        let previous = self.drafted.last().copied().unwrap_or(anchor);
        let state = self
            .head
            .backend
            .select(&guesses.states, &[self.drafted.len()])?;
        markov.confidence(&*self.head.backend, &state, previous)
    }

    fn truncate(&mut self, length: usize) {
        if length < self.length {
            self.length = length;
            self.anchor = None;
        }
        self.guesses = None;
        self.drafted.clear();
    }

    fn room(&self) -> usize {
        match self.guesses {
            // The last slot has no successor.
            Some(_) => (self.head.slots() - 1).saturating_sub(self.drafted.len()),
            None => {
                let used = self.length + self.head.block_size;
                self.head.spec.context_length.saturating_sub(used)
            }
        }
    }
}
