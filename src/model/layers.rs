//! The weights of a [`Transformer`](super::Transformer), and bringing them from a checkpoint to a backend.

use std::collections::HashMap;
use std::sync::Arc;

use super::language_model::ModelInfo;
use super::names::{LayerSlot, NamedWeights, Slot};
use super::spec::{Biases, LayerSpec, ModelSpec};
use crate::backend::{Backend, Linear, Norm, NormKind};
use crate::error::Result;
use crate::progress::Progress;
use crate::weights::{StorageType, StoredTensor, dequantize};

/// One layer's weights.
pub(super) struct Layer<B: Backend> {
    pub(super) spec: LayerSpec,
    pub(super) attention_norm: Norm<B>,
    pub(super) query: Linear<B>,
    pub(super) key: Linear<B>,
    pub(super) value: Linear<B>,
    pub(super) query_norm: Option<Norm<B>>,
    pub(super) key_norm: Option<Norm<B>>,
    pub(super) output: Linear<B>,
    pub(super) post_attention_norm: Option<Norm<B>>,
    pub(super) mlp_norm: Norm<B>,
    pub(super) gate: Option<Linear<B>>,
    pub(super) up: Linear<B>,
    pub(super) down: Linear<B>,
    pub(super) post_mlp_norm: Option<Norm<B>>,
}

/// The scaled embeddings of some tokens.
pub(super) fn embed<B: Backend>(
    backend: &B,
    embedding: &Linear<B>,
    scale: f32,
    ids: &[u32],
) -> Result<B::Activations> {
    let x = backend.embed(&embedding.matrix, ids)?;
    match scale.to_bits() == 1.0_f32.to_bits() {
        true => Ok(x),
        false => backend.scale(x, scale),
    }
}

/// Reads weights and keeps the tally for [`ModelInfo`].
pub(super) struct Loader<'a, B: Backend> {
    spec: &'a ModelSpec,
    backend: &'a B,
    weights: &'a NamedWeights<'a>,
    progress: &'a dyn Progress,
    parameters: u64,
    bytes: u64,
    /// Weights held in each storage type.
    storage: HashMap<StorageType, u64>,
}

impl<'a, B: Backend> Loader<'a, B> {
    pub(super) fn new(
        spec: &'a ModelSpec,
        backend: &'a B,
        weights: &'a NamedWeights<'a>,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            spec,
            backend,
            weights,
            progress,
            parameters: 0,
            bytes: 0,
            storage: HashMap::new(),
        }
    }

    pub(super) fn layer(&mut self, index: usize) -> Result<Layer<B>> {
        use LayerSlot as S;
        let spec = self.spec;
        let (hidden, width) = (spec.hidden_size, spec.intermediate_size);
        let (queries, keys) = (spec.query_size(), spec.kv_size());
        let head_dim = spec.attention.head_dim;
        let (all, qkv) = match spec.biases {
            Biases::AsStored => (false, false),
            Biases::Qkv => (false, true),
            Biases::All => (true, true),
        };
        let at = |slot| Slot::Layer(index, slot);
        Ok(Layer {
            spec: spec.layers[index],
            attention_norm: self.norm(at(S::AttentionNorm), hidden)?,
            query: self.linear(at(S::Query), queries, hidden, qkv)?,
            key: self.linear(at(S::Key), keys, hidden, qkv)?,
            value: self.linear(at(S::Value), keys, hidden, qkv)?,
            query_norm: self.norm_if(spec.head_norms, at(S::QueryNorm), head_dim)?,
            key_norm: self.norm_if(spec.head_norms, at(S::KeyNorm), head_dim)?,
            output: self.linear(at(S::Output), hidden, queries, all)?,
            post_attention_norm: self.norm_if(spec.post_norms, at(S::PostAttentionNorm), hidden)?,
            mlp_norm: self.norm(at(S::MlpNorm), hidden)?,
            gate: match spec.gated {
                true => Some(self.linear(at(S::Gate), width, hidden, all)?),
                false => None,
            },
            up: self.linear(at(S::Up), width, hidden, all)?,
            down: self.linear(at(S::Down), hidden, width, all)?,
            post_mlp_norm: self.norm_if(spec.post_norms, at(S::PostMlpNorm), hidden)?,
        })
    }

    pub(super) fn linear(
        &mut self,
        slot: Slot,
        outputs: usize,
        inputs: usize,
        bias_required: bool,
    ) -> Result<Linear<B>> {
        let matrix = self.weights.matrix(slot, outputs, inputs)?;
        let bias = if bias_required {
            Some(self.weights.vector(slot, "bias", outputs)?)
        } else {
            self.weights.optional_vector(slot, "bias", outputs)?
        };
        Ok(Linear {
            matrix: self.matrix(&matrix)?,
            bias: bias.map(|bias| self.vector(&bias)).transpose()?,
        })
    }

    pub(super) fn positions(&mut self) -> Result<B::Matrix> {
        let (rows, columns) = (self.spec.context_length, self.spec.hidden_size);
        let table = self.weights.matrix(Slot::Positions, rows, columns)?;
        self.matrix(&table)
    }

    /// The head: the embedding where tied or where the checkpoint holds no other.
    pub(super) fn head(&mut self, embedding: &Arc<Linear<B>>) -> Result<Arc<Linear<B>>> {
        let (rows, columns) = (self.spec.vocab_size, self.spec.hidden_size);
        let stored = match self.spec.tied_head {
            Some(true) => None,
            Some(false) => Some(self.weights.matrix(Slot::Head, rows, columns)?),
            None => self.weights.optional_matrix(Slot::Head, rows, columns)?,
        };
        let Some(matrix) = stored else {
            return Ok(embedding.clone());
        };
        let bias = self.weights.optional_vector(Slot::Head, "bias", rows)?;
        Ok(Arc::new(Linear {
            matrix: self.matrix(&matrix)?,
            bias: bias.map(|bias| self.vector(&bias)).transpose()?,
        }))
    }

    pub(super) fn norm(&mut self, slot: Slot, width: usize) -> Result<Norm<B>> {
        let weight = self.weights.vector(slot, "weight", width)?;
        let mut values = self.values(&weight)?;
        if self.weights.norms_are_offset() {
            for value in &mut values {
                *value += 1.0;
            }
        }
        let bias = match self.spec.norm {
            NormKind::Layer(_) => Some(self.weights.vector(slot, "bias", width)?),
            NormKind::Rms(_) => None,
        };
        Ok(Norm {
            kind: self.spec.norm,
            weight: self.backend.vector(values)?,
            bias: bias.map(|bias| self.vector(&bias)).transpose()?,
        })
    }

    fn norm_if(&mut self, present: bool, slot: Slot, width: usize) -> Result<Option<Norm<B>>> {
        present.then(|| self.norm(slot, width)).transpose()
    }

    fn matrix(&mut self, tensor: &StoredTensor<'_>) -> Result<B::Matrix> {
        let matrix = self.backend.matrix(tensor)?;
        let elements = tensor.shape.iter().product::<usize>() as u64;
        self.parameters += elements;
        self.bytes += self.backend.matrix_bytes(&matrix) as u64;
        *self
            .storage
            .entry(self.backend.matrix_storage(&matrix))
            .or_default() += elements;
        self.weights.release(tensor);
        self.progress.advance(tensor.data.len() as u64);
        Ok(matrix)
    }

    fn vector(&mut self, tensor: &StoredTensor<'_>) -> Result<B::Vector> {
        let values = self.values(tensor)?;
        self.backend.vector(values)
    }

    fn values(&mut self, tensor: &StoredTensor<'_>) -> Result<Vec<f32>> {
        let values = dequantize(tensor)?;
        self.parameters += values.len() as u64;
        self.bytes += (values.len() * size_of::<f32>()) as u64;
        self.progress.advance(tensor.data.len() as u64);
        Ok(values)
    }

    /// How most weights are stored.
    pub(super) fn most_common_storage(&self) -> StorageType {
        let most = self.storage.iter().max_by_key(|(_, elements)| **elements);
        most.map_or(StorageType::F32, |(storage, _)| *storage)
    }

    pub(super) fn info(&self) -> ModelInfo {
        ModelInfo {
            architecture: self.spec.architecture.name().into(),
            parameters: self.parameters,
            bytes: self.bytes,
            quantization: self.most_common_storage().name().into(),
            device: self.backend.device_name(),
            kernels: self.backend.kernels(),
            threads: self.backend.threads(),
            context_length: self.spec.context_length,
            cache_bytes_per_token: 0,
            vocab_size: self.spec.vocab_size,
        }
    }
}
