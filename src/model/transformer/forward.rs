//! One forward pass: embedding, layers, head.

use smallvec::SmallVec;

use super::Transformer;
use super::captured::Captured;
use super::chunks::PerRow;
use crate::backend::{Backend, Batch, Linear};
use crate::error::Result;
use crate::model::logits::Logits;
use crate::model::mixer::Slot;
use crate::model::pass::Pass;
use crate::model::states::States;

/// A list with room for one entry a layer.
type PerLayer<T> = SmallVec<[T; 64]>;

/// What the sequences of a step keep, in the order of their segments.
pub(super) struct Sequences<'a, 'c, B: Backend> {
    pub(super) caches: &'a mut [&'c mut B::KvCache],
    pub(super) states: &'a mut [&'c mut States],
}

impl<B: Backend> Transformer<B> {
    /// Runs the rows of one step through all layers; appends the logits of `wanted` rows.
    pub(super) fn forward(
        &self,
        ids: &[u32],
        batch: Batch<'_>,
        sequences: &mut Sequences<'_, '_, B>,
        wanted: &[usize],
        captured: &mut [Captured],
        into: &mut Logits,
    ) -> Result<()> {
        let backend = &*self.backend;
        let step = backend.begin(batch, &self.spec.ropes)?;
        let mut pass = Pass {
            backend,
            step: &step,
            batch,
            caches: sequences.caches,
            states: sequences.states,
            inputs: None,
        };
        let mut x = self.embed(ids, batch)?;
        if let Some(inputs) = &self.layer_inputs {
            pass.inputs = Some(inputs.of(backend, ids, &x)?);
        }
        if let Some(streams) = &self.streams {
            x = streams.expand(backend, &x)?;
        }
        for (index, (layer, slot)) in self.layers.iter().zip(self.slots()).enumerate() {
            self.capture(index, &x, captured)?;
            x = layer.forward(&x, slot, &mut pass)?;
        }
        if let Some(streams) = &self.streams {
            x = streams.join(backend, &x)?;
        }
        let after_last = self.layers.len();
        if captured.iter().any(|states| states.layer == after_last) {
            let last = backend.norm(&x, &self.final_norm)?;
            self.capture(after_last, &last, captured)?;
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let x = backend.select(&x, wanted)?;
        let mut logits = match into.among() {
            None => {
                let [logits] = backend.project(&x, &self.final_norm, [&self.head])?;
                logits
            }
            Some(tokens) => {
                let normed = backend.norm(&x, &self.final_norm)?;
                backend.linear_among(&normed, &self.head, tokens)?
            }
        };
        if self.spec.logit_scale.to_bits() != 1.0_f32.to_bits() {
            logits = backend.scale(logits, self.spec.logit_scale)?;
        }
        if let Some(cap) = self.spec.logit_softcap {
            logits = backend.softcap(logits, cap)?;
        }
        into.append(backend, logits)
    }

    /// Where each layer's keys and values, and its states, are among a sequence's.
    fn slots(&self) -> PerLayer<Slot> {
        let mut slots = PerLayer::<Slot>::new();
        let mut next = Slot { cache: 0, state: 0 };
        for (layer, spec) in self.layers.iter().zip(&self.spec.layers) {
            let lender = spec.mixer.lender().and_then(|lender| slots.get(lender));
            let cache = lender.map_or(next.cache, |lender| lender.cache);
            slots.push(Slot { cache, ..next });
            next.cache += usize::from(layer.cached_shape().is_some());
            next.state += layer.state_count();
        }
        slots
    }

    /// Copies the hidden states that go into a layer, if they are wanted.
    fn capture(&self, layer: usize, x: &B::Activations, captured: &mut [Captured]) -> Result<()> {
        for states in captured.iter_mut().filter(|states| states.layer == layer) {
            let first = match &self.streams {
                Some(streams) if layer < self.layers.len() => Some(streams),
                _ => None,
            };
            let x = match first {
                Some(streams) => &streams.first(&*self.backend, x)?,
                None => x,
            };
            let rows = self.backend.select(x, &states.rows)?;
            self.backend.read(rows, &mut states.values)?;
        }
        Ok(())
    }

    fn embed(&self, ids: &[u32], batch: Batch<'_>) -> Result<B::Activations> {
        let scale = self.spec.embedding_scale;
        let mut x = embed(&*self.backend, &self.embedding, scale, ids)?;
        if let Some(norm) = &self.embedding_norm {
            x = self.backend.norm(&x, norm)?;
        }
        match &self.positions {
            None => Ok(x),
            Some(table) => {
                let positions: PerRow<u32> =
                    batch.positions().map(|position| position as u32).collect();
                let positions = self.backend.embed(table, &positions)?;
                Ok(self.backend.add(&x, &positions)?)
            }
        }
    }
}

/// The scaled embeddings of some tokens.
pub(in crate::model) fn embed<B: Backend>(
    backend: &B,
    embedding: &Linear<B>,
    scale: f32,
    ids: &[u32],
) -> Result<B::Activations> {
    let x = backend.embed(&embedding.matrix, ids)?;
    match scale.to_bits() == 1.0_f32.to_bits() {
        true => Ok(x),
        false => Ok(backend.scale(x, scale)?),
    }
}
