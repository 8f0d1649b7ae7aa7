//! Draft heads that read the target's hidden states: EAGLE (2401.15077, 2406.16858) and EAGLE-3 (2503.01840), as published.
//!
//! A head is one decoder layer, or several (P-EAGLE, 2602.01469). For a token it reads the embedding, and the feature of the
//! token before it: the target's hidden states there, or, after tokens that the target has not seen, its own output.

mod entry;
mod files;

use std::sync::Arc;

use super::embedding::Embedding;
use super::parallel::{Masks, ParallelHead};
use super::steps::{Loaded, StepHead, Weights};
use super::tensors::HeadTensors;
use super::{DraftHead, OutputHead, TargetParts};
use crate::architecture::names::NamedWeights;
use crate::architecture::{AttentionSpec, LayerSpec, MixerSpec, MlpSpec};
use crate::backend::{Attention, Backend, KeysValues, Linear, Norm, OutputTiles};
use crate::error::{Error, Result};
use crate::model::layer::Layer;
use crate::model::loader::Loader;
use crate::model::mixer::Slot;
use crate::model::mlp::{Mlp, PlainMlp};
use crate::model::norms::Norms;
use crate::model::pass::Pass;
use crate::progress::Silent;
use entry::Entry;
pub use files::EagleFiles;
use files::Kind;

/// A head's weights.
pub(super) struct EagleWeights<B: Backend> {
    backend: Arc<B>,
    embedding: Embedding<B>,
    attention: AttentionSpec,
    entry: Entry<B>,
    output: Linear<B>,
    mlp: Mlp<B>,
    /// The layers after the first, which are a model's.
    further: Vec<Layer<B>>,
    /// EAGLE-3's.
    final_norm: Option<Norm<B>>,
    /// Whether the feature of the next token is what follows that norm.
    norm_output: bool,
    /// Its own, or the target's.
    head: OutputHead<B>,
}

/// The attention of a head's layer, and the width of its MLP.
fn halves_of_layer(files: &EagleFiles) -> Result<(AttentionSpec, usize)> {
    match files.spec.layers.first() {
        Some(LayerSpec {
            mixer: MixerSpec::Attention(attention),
            mlp: MlpSpec::Gated { width },
        }) if attention.window.is_none() => Ok((*attention, *width)),
        _ => {
            Err(files.unsupported("its layer is no attention over the whole text with a gated MLP"))
        }
    }
}

/// Brings a head's weights to its target's backend.
pub(super) fn load<B: Backend>(
    files: &EagleFiles,
    target: &TargetParts<'_, B>,
) -> Result<Arc<dyn DraftHead>> {
    let tensors = HeadTensors {
        checkpoint: &*files.checkpoint,
        source: &files.source,
        norm: files.spec.norm,
        hidden_size: files.spec.hidden_size,
        target,
    };
    let mut spec = files.spec.clone();
    let hidden = spec.hidden_size;
    let of_target = files.target_hidden_size();
    let vocab_size = target.spec.vocab_size;
    spec.context_length = target.spec.context_length;
    let eagle3 = match &files.kind {
        Kind::Eagle => None,
        Kind::Eagle3(eagle3) => Some(eagle3),
    };
    let captured = files.captured(target.spec.layers.len());
    let (attention, width) = halves_of_layer(files)?;
    let shape = attention.shape;
    let layer = files.layer();
    let at = |name: &str| format!("{layer}.{name}");
    let width_of_features = captured.len() * of_target;
    let eagle3_with_width = eagle3.map(|eagle3| (eagle3, width_of_features));
    let entry = Entry::read(&tensors, hidden, shape, eagle3_with_width, &at)?;
    let to_target = match eagle3 {
        Some(_) => tensors.to_target(vocab_size)?,
        None => None,
    };
    let head = match eagle3 {
        Some(_) => OutputHead::of_files(&tensors, to_target.as_deref())?,
        None => target.output_head(),
    };
    let embedding = match files.has_embedding {
        true => Embedding::Own(tensors.embedding(hidden)?),
        false => Embedding::of_target(target),
    };
    if hidden != of_target && !(tensors.has("lm_head.weight") && files.has_embedding) {
        let reason =
            format!("it is {hidden} wide, and lacks an embedding or an lm_head of its own");
        return Err(files.unsupported(reason));
    }
    let final_norm = eagle3.map(|_| tensors.norm("norm", hidden)).transpose()?;
    let queries = shape.query_size();
    let names = NamedWeights::of_layers(&*files.checkpoint, &spec, false, &files.source);
    let mut loader =
        Loader::new(&spec, &**target.backend, &names, &Silent).of_head(target.matrices());
    let further = (1..=files.further_layers).map(|index| Layer::load(&mut loader, index));
    let further = further.collect::<Result<Vec<_>>>()?;
    let of_further = further.iter().filter_map(Layer::cached_shape);
    let cached = std::iter::once(shape).chain(of_further).collect();
    let masks = eagle3.and_then(|eagle3| eagle3.masks);
    let masks = masks.map(|(token, drafts)| {
        let hidden = tensors.flat_values("mask_hidden", width_of_features)?;
        Ok::<_, Error>(Masks {
            token,
            hidden,
            drafts,
        })
    });
    let masks = masks.transpose()?;
    let weights = EagleWeights {
        backend: target.backend.clone(),
        embedding,
        attention,
        entry,
        output: tensors.linear(&at("self_attn.o_proj"), hidden, 0..queries)?,
        mlp: Mlp::Gated {
            gate: tensors.linear(&at("mlp.gate_proj"), width, 0..hidden)?,
            ungated: PlainMlp {
                norms: Norms {
                    before: Some(tensors.norm(&at("post_attention_layernorm"), hidden)?),
                    after: None,
                    scale: 1.0,
                },
                up: tensors.linear(&at("mlp.up_proj"), width, 0..hidden)?,
                down: tensors.linear(&at("mlp.down_proj"), hidden, 0..width)?,
                activation: spec.activation,
                gate_scale: 1.0,
                excess: None,
            },
        },
        further,
        final_norm,
        norm_output: eagle3.is_some_and(|eagle3| eagle3.norm_output),
        head,
    };
    let loaded = Loaded {
        weights,
        backend: target.backend.clone(),
        cached,
        captured,
        feature_width: width_of_features,
        to_target,
        info: target.info(files.kind(), tensors.elements()),
        spec: spec.clone(),
    };
    Ok(match masks {
        Some(masks) => Arc::new(ParallelHead::new(loaded, masks)?),
        None => Arc::new(StepHead::new(loaded)?),
    })
}

impl<B: Backend> Weights<B> for EagleWeights<B> {
    fn features(&self, captured: &[f32], width: usize) -> Result<B::Activations> {
        let captured = self.backend.rows(captured, width)?;
        match &self.entry {
            Entry::Fused { .. } => Ok(captured),
            Entry::Paired {
                fusion_norm: Some(norm),
                fusion,
                ..
            } => {
                let [features] = self.backend.project(&captured, norm, [fusion])?;
                Ok(features)
            }
            Entry::Paired { fusion, .. } => Ok(self.backend.linear(&captured, fusion)?),
        }
    }

    fn forward(
        &self,
        tokens: &[u32],
        features: B::Activations,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let (x, [q, k, v]) = self.enter(tokens, features)?;
        let attention = Attention {
            layer: 0,
            shape: self.attention.shape,
            window: None,
            rope: self.attention.rope,
            query_norm: None,
            key_norm: None,
            value_norm: None,
            rotated_first: false,
            sinks: None,
        };
        let keys_values = KeysValues::Own(k, v);
        let attended = backend.attention(q, keys_values, &attention, pass.caches, pass.step)?;
        let attended = backend.linear_add(&attended, &self.output, None, &x)?;
        let mut x = self.mlp.forward(backend, &attended, &attended)?;
        for (index, layer) in self.further.iter().enumerate() {
            let (cache, state) = (index + 1, 0);
            x = layer.forward(&x, Slot { cache, state }, pass)?;
        }
        Ok(x)
    }

    fn finish(
        &self,
        state: B::Activations,
        among: Option<&OutputTiles>,
    ) -> Result<(B::Activations, B::Activations)> {
        let backend = &*self.backend;
        let Some(norm) = &self.final_norm else {
            return Ok((self.head.logits(backend, &state, among)?, state));
        };
        let normed = backend.norm(&state, norm)?;
        let logits = self.head.logits(backend, &normed, among)?;
        Ok((logits, if self.norm_output { normed } else { state }))
    }
}

impl<B: Backend> EagleWeights<B> {
    /// What the layer adds to, and its queries, keys and values.
    fn enter(
        &self,
        tokens: &[u32],
        feature: B::Activations,
    ) -> Result<(B::Activations, [B::Activations; 3])> {
        let backend = &*self.backend;
        let embedded = self.embedding.rows(backend, tokens)?;
        match &self.entry {
            Entry::Fused {
                embedding,
                feature: fusion,
                projections,
            } => {
                let x = backend.linear(&embedded, embedding)?;
                let x = backend.linear_add(&feature, fusion, None, &x)?;
                let [q, k, v] = projections
                    .each_ref()
                    .map(|linear| backend.linear(&x, linear));
                Ok((x, [q?, k?, v?]))
            }
            Entry::Paired {
                embedding_norm,
                feature_norm,
                of_embedding,
                of_feature,
                norm_before_residual,
                ..
            } => {
                let [q, k, v] =
                    backend.project(&embedded, embedding_norm, of_embedding.each_ref())?;
                let [fq, fk, fv] =
                    backend.project(&feature, feature_norm, of_feature.each_ref())?;
                let sums = [
                    backend.add(&q, &fq)?,
                    backend.add(&k, &fk)?,
                    backend.add(&v, &fv)?,
                ];
                let residual = match norm_before_residual {
                    true => backend.norm(&feature, feature_norm)?,
                    false => feature,
                };
                Ok((residual, sums))
            }
        }
    }
}
