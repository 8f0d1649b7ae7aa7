//! Draft heads that read the target's hidden states: EAGLE (2401.15077, 2406.16858) and EAGLE-3 (2503.01840), as published.
//!
//! A head is one decoder layer. For a token it reads the embedding, and the feature of the token before it: the target's
//! hidden states there, or, after tokens that the target has not seen, its own output.

mod files;
mod reader;

use std::sync::Arc;

use super::{DraftHead, Features, HeadOutput, HeadSequence};
use crate::architecture::{AttentionSpec, LayerSpec, MixerSpec, MlpSpec, ModelSpec};
use crate::backend::{
    Attention, Backend, Batch, CachePrecision, KeysValues, Linear, Norm, Segment, StorageType,
};
use crate::error::{Error, Result};
use crate::model::host::read;
use crate::model::info::ModelInfo;
use crate::model::mlp::{Mlp, PlainMlp};
use crate::model::norms::Norms;
use crate::model::transformer::embed;
use crate::weights::Checkpoint;
pub use files::EagleFiles;
use reader::Reader;

/// Tokens by which the vocabularies of one family differ: rows that fill up a matrix.
const MAX_PADDING: usize = 1024;

/// How the one layer's keys and values, which are few, are held: as those of unquantized weights.
fn cache_precision<B: Backend>(backend: &B) -> CachePrecision {
    backend.cache_precision(StorageType::F32)
}

/// What a head takes from the target that it drafts for.
pub(in crate::model) struct Host<'a, B: Backend> {
    pub(in crate::model) spec: &'a ModelSpec,
    pub(in crate::model) backend: &'a Arc<B>,
    pub(in crate::model) embedding: &'a Arc<Linear<B>>,
    pub(in crate::model) head: &'a Arc<Linear<B>>,
}

/// A head.
pub(in crate::model) struct Eagle<B: Backend>(Arc<Weights<B>>);

struct Weights<B: Backend> {
    spec: ModelSpec,
    backend: Arc<B>,
    embedding: Arc<Linear<B>>,
    /// Layers of the target before which its hidden states are captured.
    captured: Vec<usize>,
    attention: AttentionSpec,
    entry: Entry<B>,
    output: Linear<B>,
    mlp: Mlp<B>,
    /// EAGLE-3's.
    final_norm: Option<Norm<B>>,
    /// Its own, or the target's, with the cap of that.
    head: Arc<Linear<B>>,
    softcap: Option<f32>,
    /// The target's token of each of the head's, where it has fewer.
    to_target: Option<Vec<u32>>,
    info: ModelInfo,
}

/// How embedding and feature enter the layer.
enum Entry<B: Backend> {
    /// EAGLE: a matrix over both gives the layer's input, which no norm precedes.
    Fused {
        embedding: Linear<B>,
        feature: Linear<B>,
        projections: [Linear<B>; 3],
    },
    /// EAGLE-3: queries, keys and values are projected from both, side by side, each after a norm of its own; and a matrix
    /// over the target's hidden states gives the feature.
    Paired {
        feature: Linear<B>,
        embedding_norm: Norm<B>,
        feature_norm: Norm<B>,
        of_embedding: [Linear<B>; 3],
        of_feature: [Linear<B>; 3],
    },
}

/// The attention of a head's layer, and the width of its MLP.
fn halves_of_layer(files: &EagleFiles) -> Result<(AttentionSpec, usize)> {
    match files.spec.layers.first() {
        Some(LayerSpec {
            mixer: MixerSpec::Attention(attention),
            mlp: MlpSpec::Gated { width },
        }) => Ok((*attention, *width)),
        _ => Err(files.unsupported("its layer is no attention with a gated MLP")),
    }
}

impl<B: Backend> Eagle<B> {
    /// Brings a head's weights to its target's backend.
    pub(in crate::model) fn load(files: &EagleFiles, host: &Host<'_, B>) -> Result<Self> {
        let reader = Reader {
            files,
            backend: host.backend,
        };
        let mut spec = files.spec.clone();
        let hidden = spec.hidden_size;
        if hidden != host.spec.hidden_size {
            let wide = host.spec.hidden_size;
            let reason = format!("it is for targets {hidden} wide, and this one is {wide}");
            return Err(files.unsupported(reason));
        }
        let vocab_size = host.spec.vocab_size;
        if spec.vocab_size.abs_diff(vocab_size) > MAX_PADDING {
            let theirs = spec.vocab_size;
            let reason =
                format!("it is for targets of {theirs} tokens, and this one has {vocab_size}");
            return Err(files.unsupported(reason));
        }
        spec.embedding_scale = host.spec.embedding_scale;
        spec.context_length = host.spec.context_length;
        let paired = files.is_third();
        let layer = if paired { "midlayer" } else { "layers.0" };
        let layers = host.spec.layers.len();
        let captured = match (paired, &files.captured) {
            (false, _) => vec![layers],
            (true, Some(captured)) => captured.clone(),
            (true, None) => vec![2, layers / 2, layers.saturating_sub(3)],
        };
        if captured.is_empty() || captured.iter().any(|layer| *layer > layers) {
            let reason = format!("it reads layers {captured:?} of a target that has {layers}");
            return Err(files.unsupported(reason));
        }
        let (attention, width) = halves_of_layer(files)?;
        let shape = attention.shape;
        let at = |name: &str| format!("{layer}.{name}");
        let entry = reader.entry(&spec, shape, paired, captured.len(), &at)?;
        let to_target = if paired {
            reader.to_target(vocab_size)?
        } else {
            None
        };
        let own_head = match (paired && reader.has("lm_head.weight"), &to_target) {
            (true, to_target) => {
                let outputs = to_target.as_ref().map_or(vocab_size, Vec::len);
                Some(Arc::new(reader.linear("lm_head", outputs, 0..hidden)?))
            }
            (false, None) => None,
            (false, Some(_)) => {
                let reason = "it has tokens of its own (d2t), and no lm_head.weight for them";
                return Err(files.unsupported(reason));
            }
        };
        let final_norm = paired.then(|| reader.norm("norm", &spec)).transpose()?;
        // What the backend can't keep is refused now, not with the first prompt.
        let backend = host.backend;
        let precision = cache_precision(&**backend);
        drop(backend.kv_cache(&[shape], precision, spec.context_length)?);
        let queries = shape.query_size();
        let names = files.checkpoint.names();
        let tensors = names
            .into_iter()
            .filter_map(|name| files.checkpoint.tensor(name));
        let elements: usize = tensors.filter_map(|tensor| tensor.elements()).sum();
        Ok(Self(Arc::new(Weights {
            backend: host.backend.clone(),
            embedding: host.embedding.clone(),
            captured,
            attention,
            entry,
            output: reader.linear(&at("self_attn.o_proj"), hidden, 0..queries)?,
            mlp: Mlp::Gated {
                gate: reader.linear(&at("mlp.gate_proj"), width, 0..hidden)?,
                ungated: PlainMlp {
                    norms: Norms {
                        before: Some(reader.norm(&at("post_attention_layernorm"), &spec)?),
                        after: None,
                        scale: 1.0,
                    },
                    up: reader.linear(&at("mlp.up_proj"), width, 0..hidden)?,
                    down: reader.linear(&at("mlp.down_proj"), hidden, 0..width)?,
                    activation: spec.activation,
                    gate_scale: 1.0,
                    excess: None,
                },
            },
            final_norm,
            softcap: host.spec.logit_softcap.filter(|_| own_head.is_none()),
            head: own_head.unwrap_or_else(|| host.head.clone()),
            to_target,
            info: ModelInfo {
                architecture: if paired { "eagle3" } else { "eagle" }.into(),
                parameters: elements as u64,
                device: host.backend.device_name(),
                kernels: host.backend.kernels(),
                threads: host.backend.threads(),
                context_length: spec.context_length,
                vocab_size,
                ..ModelInfo::default()
            },
            spec,
        })))
    }
}

impl<B: Backend> DraftHead for Eagle<B> {
    fn captured_layers(&self) -> &[usize] {
        &self.0.captured
    }

    fn width(&self) -> usize {
        self.0.captured.len() * self.0.spec.hidden_size
    }

    fn to_target(&self) -> Option<&[u32]> {
        self.0.to_target.as_deref()
    }

    fn begin(&self) -> Result<Box<dyn HeadSequence>> {
        let (shape, context) = (self.0.attention.shape, self.0.spec.context_length);
        let backend = &*self.0.backend;
        let cache = backend.kv_cache(&[shape], cache_precision(backend), context)?;
        Ok(Box::new(EagleSequence {
            weights: self.0.clone(),
            cache,
            length: 0,
        }))
    }

    fn info(&self) -> ModelInfo {
        self.0.info.clone()
    }
}

/// One sequence of a head.
struct EagleSequence<B: Backend> {
    weights: Arc<Weights<B>>,
    cache: B::KvCache,
    length: usize,
}

impl<B: Backend> HeadSequence for EagleSequence<B> {
    fn extend(&mut self, tokens: &[u32], features: Features<'_>) -> Result<HeadOutput> {
        let weights = &self.weights;
        let backend = &*weights.backend;
        let segments = [Segment {
            past: self.length,
            first_row: 0,
            rows: tokens.len(),
            is_tree: false,
            provisional: 0,
            is_stretched: false,
        }];
        let batch = Batch {
            segments: &segments,
            ancestors: &[],
        };
        let step = backend.begin(batch, &weights.spec.ropes)?;
        let feature = weights.feature(tokens.len(), features)?;
        let (x, [q, k, v]) = weights.enter(tokens, feature)?;
        let attention = Attention {
            layer: 0,
            shape: weights.attention.shape,
            window: None,
            rope: weights.attention.rope,
            query_norm: None,
            key_norm: None,
            value_norm: None,
            rotated_first: false,
            sinks: None,
        };
        let attended = backend.attention(
            q,
            KeysValues::Own(k, v),
            &attention,
            &mut [&mut self.cache],
            &step,
        )?;
        let attended = backend.linear_add(&attended, &weights.output, None, &x)?;
        let hidden = weights.mlp.forward(backend, &attended, &attended)?;
        let last = backend.select(&hidden, &[tokens.len() - 1])?;
        let logits = weights.logits(&last)?;
        self.length += tokens.len();
        Ok(HeadOutput {
            logits: read(backend, logits)?,
            feature: read(backend, last)?,
        })
    }

    fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    fn room(&self) -> usize {
        self.weights.spec.context_length.saturating_sub(self.length)
    }
}

impl<B: Backend> Weights<B> {
    /// The features of some tokens, `[rows, hidden]`.
    fn feature(&self, rows: usize, features: Features<'_>) -> Result<B::Activations> {
        let hidden = self.spec.hidden_size;
        let (values, width, fusion) = match (features, &self.entry) {
            (Features::Target(values), Entry::Paired { feature, .. }) => {
                (values, hidden * self.captured.len(), Some(feature))
            }
            (Features::Target(values) | Features::Own(values), _) => (values, hidden, None),
        };
        if rows == 0 || values.len() != rows * width {
            let found = values.len();
            let reason = format!("{found} features where {rows} rows of {width} were due");
            return Err(Error::Compute(reason));
        }
        let rows = self.backend.rows(values, width)?;
        match fusion {
            Some(fusion) => Ok(self.backend.linear(&rows, fusion)?),
            None => Ok(rows),
        }
    }

    /// What the layer adds to, and its queries, keys and values.
    fn enter(
        &self,
        tokens: &[u32],
        feature: B::Activations,
    ) -> Result<(B::Activations, [B::Activations; 3])> {
        let backend = &*self.backend;
        let embedded = embed(backend, &self.embedding, self.spec.embedding_scale, tokens)?;
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
                Ok((feature, sums))
            }
        }
    }

    fn logits(&self, x: &B::Activations) -> Result<B::Activations> {
        let logits = match &self.final_norm {
            Some(norm) => {
                let [logits] = self.backend.project(x, norm, [&self.head])?;
                logits
            }
            None => self.backend.linear(x, &self.head)?,
        };
        match self.softcap {
            Some(cap) => Ok(self.backend.softcap(logits, cap)?),
            None => Ok(logits),
        }
    }
}
