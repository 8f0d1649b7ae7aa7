//! Brings the weights of a [`Transformer`](super::Transformer) from a checkpoint to a backend.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::info::ModelInfo;
use super::memory;
use super::norms::Norms;
use crate::architecture::names::{self, LayerTensor, ModelTensor, NamedWeights};
use crate::architecture::{Biases, ModelSpec};
use crate::backend::{Backend, Linear, Norm, NormKind, Taps};
use crate::error::Result;
use crate::progress::Progress;
use crate::weights::{StorageType, StoredRows, StoredTensor, dequantize, quantize};

/// How the matrices of a head are held whose checkpoint is not the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadMatrices {
    /// As they are stored.
    AsStored,
    /// In 8 bits where they are floats.
    EightBits,
}

impl HeadMatrices {
    /// Beside a target whose matrices are stored like this: drafting takes as long as reading weights does.
    pub(super) fn beside(target: StorageType) -> Self {
        match target.block_elements() {
            1 => Self::AsStored,
            _ => Self::EightBits,
        }
    }

    /// A matrix as it is held, if there is memory for it.
    pub(super) fn hold(self, stored: StoredTensor<'_>) -> Result<StoredTensor<'_>> {
        let held = StorageType::Q8_0;
        let is_converted = self == Self::EightBits && stored.storage.block_elements() == 1;
        let converted = match *stored.shape {
            [rows, inputs] if is_converted => {
                held.bytes(inputs).map(|row| rows.saturating_mul(row))
            }
            _ => None,
        };
        memory::check_of_head(converted.unwrap_or(stored.data.len()))?;
        match converted {
            Some(_) => Ok(quantize(&stored, held)?),
            None => Ok(stored),
        }
    }
}

/// Reads weights and keeps the tally for [`ModelInfo`].
pub(super) struct Loader<'a, B: Backend> {
    pub(super) spec: &'a ModelSpec,
    backend: &'a B,
    weights: &'a NamedWeights<'a>,
    progress: &'a dyn Progress,
    /// How a head's matrices are held, whose checkpoint is not the target's: they are not kept for later processes.
    of_head: Option<HeadMatrices>,
    parameters: u64,
    bytes: u64,
    storage: StoredElements,
}

/// How many weights are stored in each type.
#[derive(Default)]
pub(super) struct StoredElements(HashMap<StorageType, usize>);

impl StoredElements {
    pub(super) fn add(&mut self, storage: StorageType, elements: usize) {
        *self.0.entry(storage).or_default() += elements;
    }

    /// How most of them are stored; f32 if there are none.
    pub(super) fn most_common(&self) -> StorageType {
        let common = self.0.iter().max_by_key(|(_, elements)| **elements);
        common.map_or(StorageType::F32, |(storage, _)| *storage)
    }
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
            of_head: None,
            parameters: 0,
            bytes: 0,
            storage: StoredElements::default(),
        }
    }

    /// The same of a head with a checkpoint of its own.
    pub(super) fn of_head(mut self, matrices: HeadMatrices) -> Self {
        self.of_head = Some(matrices);
        self
    }

    /// Some columns of a matrix of layer `index`, of so many inputs in all.
    pub(super) fn layer_columns(
        &mut self,
        index: usize,
        tensor: LayerTensor,
        [outputs, inputs]: [usize; 2],
        columns: Range<usize>,
    ) -> Result<Linear<B>> {
        let tensor = ModelTensor::Layer(index, tensor);
        let name = format!("{tensor:?} {columns:?}");
        let matrix = match self.kept_matrix(&name, [outputs, columns.len()]) {
            Some(matrix) => matrix,
            None => {
                let stored = self.weights.matrix(tensor, outputs, inputs)?;
                let part = stored.columns(columns)?;
                self.new_matrix(&name, &part)?
            }
        };
        Ok(Linear { matrix, bias: None })
    }

    /// The embedding of a layer that predicts further tokens, if it is not the model's.
    pub(super) fn prediction_embedding(&self, index: usize) -> Result<Option<StoredRows>> {
        let tensor = ModelTensor::Layer(index, LayerTensor::PredictionEmbedding);
        let shape @ [rows, columns] = [self.spec.vocab_size, self.spec.hidden_size];
        match self
            .weights
            .is_copy(tensor, ModelTensor::Embedding, shape)?
        {
            true => Ok(None),
            false => self.weights.table(tensor, rows, columns).map(Some),
        }
    }

    /// The same of its head.
    pub(super) fn prediction_head(&mut self, index: usize) -> Result<Option<Linear<B>>> {
        let tensor = ModelTensor::Layer(index, LayerTensor::PredictionHead);
        let shape @ [rows, columns] = [self.spec.vocab_size, self.spec.hidden_size];
        match self.weights.is_copy(tensor, ModelTensor::Head, shape)? {
            true => Ok(None),
            false => self.linear(tensor, rows, columns, false).map(Some),
        }
    }

    /// The norm of a layer that predicts further tokens before the head; `None`: it is the target's.
    pub(super) fn optional_layer_norm(
        &mut self,
        index: usize,
        tensor: LayerTensor,
        width: usize,
    ) -> Result<Option<Norm<B>>> {
        let tensor = ModelTensor::Layer(index, tensor);
        let is_there = self.weights.optional_vector(tensor, "weight", width)?;
        is_there.map(|_| self.norm(tensor, width)).transpose()
    }

    /// A linear layer of layer `index`, with a bias where the family has one there.
    pub(super) fn layer_linear(
        &mut self,
        index: usize,
        tensor: LayerTensor,
        outputs: usize,
        inputs: usize,
    ) -> Result<Linear<B>> {
        use LayerTensor as T;
        let bias_required = match self.spec.biases {
            Biases::AsStored => false,
            Biases::Qkv => matches!(tensor, T::Query | T::Key | T::Value),
            Biases::All => true,
        };
        let tensor = ModelTensor::Layer(index, tensor);
        self.linear(tensor, outputs, inputs, bias_required)
    }

    /// A linear layer of layer `index`, the values of whose matrix are not converted: a router's.
    pub(super) fn exact_layer_linear(
        &mut self,
        index: usize,
        tensor: LayerTensor,
        outputs: usize,
        inputs: usize,
    ) -> Result<Linear<B>> {
        let tensor = ModelTensor::Layer(index, tensor);
        let stored = self.weights.matrix(tensor, outputs, inputs)?;
        let bias = self.weights.optional_vector(tensor, "bias", outputs)?;
        let matrix = self.backend.exact_matrix(&stored)?;
        self.count_read(&stored, &matrix);
        Ok(Linear {
            matrix,
            bias: bias.map(|bias| self.vector(&bias)).transpose()?,
        })
    }

    /// The values of a tensor of layer `index` that the host computes with.
    pub(super) fn layer_values(
        &mut self,
        index: usize,
        tensor: LayerTensor,
        shape: &[usize],
    ) -> Result<Vec<f32>> {
        let stored = self
            .weights
            .tensor(ModelTensor::Layer(index, tensor), "weight", shape)?;
        self.values(&stored)
    }

    /// The taps of a convolution of layer `index`.
    pub(super) fn taps(&mut self, index: usize, channels: usize, taps: usize) -> Result<Taps> {
        let tensor = LayerTensor::Conv;
        let stored = self.layer_values(index, tensor, &[channels, taps])?;
        let bias = self.optional_layer_values(index, tensor, "bias", channels)?;
        Ok(Taps::new(channels, &stored, bias.as_deref()))
    }

    /// The factor of each head on the decay of a recurrence, negative: GGUF files hold it, others its logarithm.
    pub(super) fn decay_factors(&mut self, index: usize, heads: usize) -> Result<Vec<f32>> {
        let tensor = LayerTensor::Decay;
        if let Some(factors) = self.optional_layer_values(index, tensor, "weight", heads)? {
            return Ok(factors);
        }
        let logarithms = self.layer_values(index, LayerTensor::DecayLogarithm, &[heads])?;
        Ok(logarithms.into_iter().map(|log| -libm::expf(log)).collect())
    }

    /// A vector of layer `index`, on the backend.
    pub(super) fn layer_vector(
        &mut self,
        index: usize,
        tensor: LayerTensor,
        length: usize,
    ) -> Result<B::Vector> {
        let values = self.layer_values(index, tensor, &[length])?;
        Ok(self.backend.vector(values)?)
    }

    /// The same of a vector that the checkpoint may lack.
    pub(super) fn optional_layer_values(
        &mut self,
        index: usize,
        tensor: LayerTensor,
        suffix: &str,
        length: usize,
    ) -> Result<Option<Vec<f32>>> {
        let tensor = ModelTensor::Layer(index, tensor);
        let stored = self.weights.optional_vector(tensor, suffix, length)?;
        stored.map(|stored| self.values(&stored)).transpose()
    }

    pub(super) fn layer_norm(
        &mut self,
        index: usize,
        tensor: LayerTensor,
        width: usize,
    ) -> Result<Norm<B>> {
        self.norm(ModelTensor::Layer(index, tensor), width)
    }

    pub(super) fn layer_norm_of_kind(
        &mut self,
        index: usize,
        tensor: LayerTensor,
        width: usize,
        kind: NormKind,
    ) -> Result<Norm<B>> {
        self.norm_of_kind(ModelTensor::Layer(index, tensor), width, kind)
    }

    /// From a head's queries to what is compared with compressed keys, `[rank, plain]`: the transpose of what expands these.
    pub(super) fn transposed_key_up(
        &mut self,
        index: usize,
        head: usize,
        rank: usize,
        plain: usize,
    ) -> Result<Linear<B>> {
        let tensor = ModelTensor::Layer(index, LayerTensor::TransposedKeyUp(head));
        let weights = self.weights;
        let matrix = self.matrix(tensor, [rank, plain], || {
            if let Some(stored) = weights.optional_matrix(tensor, rank, plain)? {
                return Ok(stored);
            }
            let tensor = ModelTensor::Layer(index, LayerTensor::KeyUp(head));
            names::transposed(&weights.matrix(tensor, plain, rank)?)
        })?;
        Ok(Linear { matrix, bias: None })
    }

    /// The values of a vector of layer `index` that may be stored as a matrix of its parts.
    pub(super) fn vector_in_parts(
        &mut self,
        index: usize,
        tensor: LayerTensor,
        parts: usize,
        part: usize,
    ) -> Result<Vec<f32>> {
        let name = ModelTensor::Layer(index, tensor);
        let shapes: [&[usize]; 2] = [&[parts * part], &[parts, part]];
        let [whole, in_parts] = shapes.map(|shape| self.weights.tensor(name, "weight", shape));
        let stored = whole.or(in_parts)?;
        self.values(&stored)
    }

    /// The norms of a mixer or an MLP.
    pub(super) fn norms(
        &mut self,
        index: usize,
        before: LayerTensor,
        after: LayerTensor,
    ) -> Result<Norms<B>> {
        let (spec, hidden) = (self.spec, self.spec.hidden_size);
        let mut norm = |is_there: bool, tensor, kind| {
            let tensor = ModelTensor::Layer(index, tensor);
            let norm = is_there.then(|| self.norm_of_kind(tensor, hidden, kind));
            norm.transpose()
        };
        Ok(Norms {
            before: norm(spec.norm_placement.before(), before, spec.norm)?,
            after: norm(spec.norm_placement.after(), after, spec.after_norm)?,
            scale: spec.residual_scale,
        })
    }

    pub(super) fn linear(
        &mut self,
        tensor: ModelTensor,
        outputs: usize,
        inputs: usize,
        bias_required: bool,
    ) -> Result<Linear<B>> {
        let weights = self.weights;
        let matrix = match tensor {
            ModelTensor::Layer(_, LayerTensor::Expert(..)) => {
                self.experts_matrix(tensor, [outputs, inputs])?
            }
            _ => self.matrix(tensor, [outputs, inputs], || {
                weights.matrix(tensor, outputs, inputs)
            })?,
        };
        let bias = if bias_required {
            Some(self.weights.vector(tensor, "bias", outputs)?)
        } else {
            self.weights.optional_vector(tensor, "bias", outputs)?
        };
        Ok(Linear {
            matrix,
            bias: bias.map(|bias| self.vector(&bias)).transpose()?,
        })
    }

    /// A table whose rows are read from the checkpoint one by one.
    pub(super) fn table(
        &self,
        tensor: ModelTensor,
        rows: usize,
        columns: usize,
    ) -> Result<StoredRows> {
        self.weights.table(tensor, rows, columns)
    }

    /// The values of a vector that is of no layer, with which the host computes.
    pub(super) fn model_values(&mut self, tensor: ModelTensor, length: usize) -> Result<Vec<f32>> {
        let stored = self.weights.vector(tensor, "weight", length)?;
        self.values(&stored)
    }

    pub(super) fn positions(&mut self) -> Result<B::Matrix> {
        let (rows, columns) = (self.spec.context_length, self.spec.hidden_size);
        let (weights, tensor) = (self.weights, ModelTensor::Positions);
        self.matrix(tensor, [rows, columns], || {
            weights.matrix(tensor, rows, columns)
        })
    }

    /// The head: the embedding where tied or where the checkpoint holds no other.
    pub(super) fn head(&mut self, embedding: &Arc<Linear<B>>) -> Result<Arc<Linear<B>>> {
        let (rows, columns) = (self.spec.vocab_size, self.spec.hidden_size);
        let (weights, tensor) = (self.weights, ModelTensor::Head);
        let is_there = match self.spec.tied_head {
            Some(tied) => !tied,
            None => weights.optional_matrix(tensor, rows, columns)?.is_some(),
        };
        if !is_there {
            return Ok(embedding.clone());
        }
        Ok(Arc::new(self.linear(tensor, rows, columns, false)?))
    }

    pub(super) fn norm(&mut self, tensor: ModelTensor, width: usize) -> Result<Norm<B>> {
        self.norm_of_kind(tensor, width, self.spec.norm)
    }

    /// A norm with the same weight for all elements, which no checkpoint holds.
    pub(super) fn uniform_norm(&self, width: usize, weight: f32) -> Result<Norm<B>> {
        self.norm_of_values(vec![weight; width])
    }

    /// A norm with these weights.
    pub(super) fn norm_of_values(&self, weights: Vec<f32>) -> Result<Norm<B>> {
        Ok(Norm {
            kind: self.spec.norm,
            weight: self.backend.vector(weights)?,
            bias: None,
        })
    }

    fn norm_of_kind(
        &mut self,
        tensor: ModelTensor,
        width: usize,
        kind: NormKind,
    ) -> Result<Norm<B>> {
        let weight = self.weights.vector(tensor, "weight", width)?;
        let mut values = self.values(&weight)?;
        if self.weights.is_less_one(tensor) {
            for value in &mut values {
                *value += 1.0;
            }
        }
        let bias = match kind {
            NormKind::Layer(_) if self.spec.family.norm_biases => {
                Some(self.weights.vector(tensor, "bias", width)?)
            }
            NormKind::Layer(_) | NormKind::Rms(_) => None,
        };
        Ok(Norm {
            kind,
            weight: self.backend.vector(values)?,
            bias: bias.map(|bias| self.vector(&bias)).transpose()?,
        })
    }

    /// A matrix as the backend kept it, or else as `read` finds it in the checkpoint.
    fn matrix(
        &mut self,
        tensor: ModelTensor,
        shape: [usize; 2],
        read: impl FnOnce() -> Result<StoredTensor<'a>>,
    ) -> Result<B::Matrix> {
        let name = format!("{tensor:?}");
        match self.kept_matrix(&name, shape) {
            Some(matrix) => Ok(matrix),
            None => self.new_matrix(&name, &read()?),
        }
    }

    /// The same of an expert, whose matrix may be brought when it is first used.
    fn experts_matrix(&mut self, tensor: ModelTensor, shape: [usize; 2]) -> Result<B::Matrix> {
        let name = format!("{tensor:?}");
        if let Some(matrix) = self.kept_matrix(&name, shape) {
            return Ok(matrix);
        }
        let stored = self.weights.matrix(tensor, shape[0], shape[1])?;
        let Some(source) = self.weights.source(&stored) else {
            return self.new_matrix(&name, &stored);
        };
        if self.of_head.is_some() {
            return self.new_matrix(&name, &stored);
        }
        let matrix = self.backend.matrix_on_first_use(&name, source)?;
        self.count(shape, &matrix);
        self.progress.advance(stored.data.len() as u64);
        Ok(matrix)
    }

    /// The matrix that an earlier process kept.
    fn kept_matrix(&mut self, name: &str, shape: [usize; 2]) -> Option<B::Matrix> {
        if self.of_head.is_some() {
            return None;
        }
        let matrix = self.backend.kept_matrix(name, shape)?;
        self.count(shape, &matrix);
        let storage = self.backend.matrix_storage(&matrix);
        let bytes = storage.bytes(shape.iter().product());
        self.progress.advance(bytes.unwrap_or_default() as u64);
        Some(matrix)
    }

    /// A matrix of the checkpoint, which is kept for later processes.
    fn new_matrix(&mut self, name: &str, stored: &StoredTensor<'_>) -> Result<B::Matrix> {
        let matrix = match self.of_head {
            Some(matrices) => self.backend.matrix(&matrices.hold(stored.clone())?)?,
            None => self.backend.matrix(stored)?,
        };
        if self.of_head.is_none() {
            self.backend.keep_matrix(name, &matrix)?;
        }
        self.count_read(stored, &matrix);
        Ok(matrix)
    }

    /// Adds a matrix that was read from the checkpoint to the tally.
    fn count_read(&mut self, tensor: &StoredTensor<'_>, matrix: &B::Matrix) {
        self.count([1, tensor.shape.iter().product()], matrix);
        self.weights.release(tensor);
        self.progress.advance(tensor.data.len() as u64);
    }

    /// Adds a matrix of this shape to the tally.
    fn count(&mut self, shape: [usize; 2], matrix: &B::Matrix) {
        let elements = shape.iter().product();
        self.parameters += elements as u64;
        self.bytes += self.backend.matrix_bytes(matrix) as u64;
        self.storage
            .add(self.backend.matrix_storage(matrix), elements);
    }

    fn vector(&mut self, tensor: &StoredTensor<'_>) -> Result<B::Vector> {
        let values = self.values(tensor)?;
        Ok(self.backend.vector(values)?)
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
        self.storage.most_common()
    }

    pub(super) fn info(&self) -> ModelInfo {
        ModelInfo {
            architecture: self.spec.family.name().into(),
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
