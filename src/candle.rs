//! Models on [Candle](https://github.com/huggingface/candle): any closure over tensors as a model to speculate with, and our own
//! transformer out of tensors that are in memory.
//!
//! ```
//! use candle_core::{DType, Device, IndexOp, Tensor};
//! use specdec_rs::candle::ClosureModel;
//! use specdec_rs::model::TokenSequence;
//!
//! // A bigram model: its logits are a table's rows. A real model keeps its KV cache among what the closure captures.
//! let table = Tensor::rand(0_f32, 1.0, (8, 8), &Device::Cpu)?;
//! let forward = move |ids: &Tensor, _position: usize| table.index_select(&ids.i(0)?, 0);
//! let model = ClosureModel::new(8, 1024, Device::Cpu, forward);
//! # let _ = model;
//! # Ok::<(), specdec_rs::Error>(())
//! ```

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, WithDType};
use candle_nn::VarBuilder;

use crate::architecture::config_json;
use crate::error::{Error, Result};
use crate::model::{
    Extend, LanguageModel, LoadOptions, Logits, SequenceId, TargetModel, load_checkpoint,
};
use crate::weights::{Checkpoint, StorageType, StoredTensor};

/// A model that is a closure, `forward(ids, position)`.
///
/// `ids` are the next tokens of a sequence, `[1, tokens]` of u32, of which the first has this position: the closure forgets what
/// it had from there on (rejected tokens), and returns the logits after each of them, `[tokens, vocab_size]` or
/// `[1, tokens, vocab_size]`. As they are the logits of all tokens, verifying a draft is one call.
///
/// Every sequence is a clone of the closure, and so is a fork of one: what it captures by value (a KV cache) is the sequence's
/// own, what it shares (weights in an `Arc`, tensors) is not copied.
pub struct ClosureModel<F> {
    vocab_size: usize,
    context_length: usize,
    device: Device,
    forward: F,
    sequences: HashMap<SequenceId, Sequence<F>>,
}

#[derive(Clone)]
struct Sequence<F> {
    forward: F,
    length: usize,
}

impl<F> ClosureModel<F>
where
    F: FnMut(&Tensor, usize) -> candle_core::Result<Tensor> + Clone + Send,
{
    /// A model of so many tokens, which a sequence may hold so many of; `device` is where `ids` are made.
    pub fn new(vocab_size: usize, context_length: usize, device: Device, forward: F) -> Self {
        Self {
            vocab_size,
            context_length,
            device,
            forward,
            sequences: HashMap::new(),
        }
    }

    /// Appends tokens to a sequence, without counting them; returns the logits of the last `rows`.
    fn append(&mut self, extend: &Extend<'_>) -> Result<Vec<f32>> {
        let (tokens, vocab_size) = (extend.tokens.len(), self.vocab_size);
        let ids = Tensor::from_slice(extend.tokens, (1, tokens), &self.device)?;
        let fresh = || Sequence {
            forward: self.forward.clone(),
            length: 0,
        };
        let sequence = self.sequences.entry(extend.sequence).or_insert_with(fresh);
        let logits = (sequence.forward)(&ids, sequence.length)?;
        let found = logits.dims();
        if ![&[1, tokens, vocab_size][..], &[tokens, vocab_size]].contains(&found) {
            return Err(Error::Compute(format!(
                "the closure returned logits of shape {found:?} for {tokens} tokens: expected [{tokens}, {vocab_size}]"
            )));
        }
        let rows = logits.reshape((tokens, vocab_size))?;
        let wanted = rows.narrow(0, tokens - extend.rows, extend.rows)?;
        let wanted = wanted.to_dtype(DType::F32)?.flatten_all()?;
        Ok(wanted.to_vec1()?)
    }
}

impl<F> LanguageModel for ClosureModel<F>
where
    F: FnMut(&Tensor, usize) -> candle_core::Result<Tensor> + Clone + Send,
{
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> Result<()> {
        for extend in batch {
            let rows = self.append(extend)?;
            logits.push(&rows);
        }
        // Only now: after an error, the sequences are as long as they were.
        for extend in batch {
            if let Some(sequence) = self.sequences.get_mut(&extend.sequence) {
                sequence.length += extend.tokens.len();
            }
        }
        Ok(())
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()> {
        if let Some(sequence) = self.sequences.get_mut(&sequence) {
            sequence.length = sequence.length.min(length);
        }
        Ok(())
    }

    fn can_fork(&self) -> bool {
        true
    }

    fn fork(&mut self, sequence: SequenceId, copy: SequenceId, length: usize) -> Result<()> {
        if let Some(original) = self.sequences.get(&sequence) {
            let forked = Sequence {
                length: original.length.min(length),
                ..original.clone()
            };
            self.sequences.insert(copy, forked);
        }
        Ok(())
    }

    fn free(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }
}

/// Tensors by their names in a Hugging Face checkpoint.
pub enum Tensors<'a> {
    /// Those of a builder, in its type.
    Builder(VarBuilder<'a>),
    /// A map.
    Map(HashMap<String, Tensor>),
}

impl<'a> From<VarBuilder<'a>> for Tensors<'a> {
    fn from(builder: VarBuilder<'a>) -> Self {
        Self::Builder(builder)
    }
}

impl From<HashMap<String, Tensor>> for Tensors<'_> {
    fn from(map: HashMap<String, Tensor>) -> Self {
        Self::Map(map)
    }
}

/// Our transformer out of tensors in memory: of f32, f16 or bf16, named as in a Hugging Face checkpoint, whose config.json is
/// `config`.
pub fn transformer<'a>(
    config: &str,
    tensors: impl Into<Tensors<'a>>,
    options: &LoadOptions,
) -> Result<Box<dyn TargetModel>> {
    let spec = config_json::parse(config, Path::new("config.json"))?;
    let stored = Stored::new(tensors.into())?;
    load_checkpoint(&spec, &stored, Path::new(SOURCE), options)
}

/// What errors call the tensors' file.
const SOURCE: &str = "tensors in memory";

/// Tensors as a checkpoint stores them. Loading asks for a map's several times: they are converted once.
enum Stored<'a> {
    Builder(VarBuilder<'a>),
    Map(HashMap<String, StoredTensor<'static>>),
}

impl<'a> Stored<'a> {
    fn new(tensors: Tensors<'a>) -> Result<Self> {
        let map = match tensors {
            Tensors::Builder(builder) => return Ok(Self::Builder(builder)),
            Tensors::Map(map) => map,
        };
        let mut stored = HashMap::with_capacity(map.len());
        for (name, tensor) in map {
            stored.extend(convert(&tensor)?.map(|tensor| (name, tensor)));
        }
        Ok(Self::Map(stored))
    }
}

/// A tensor's type and elements, if they are floats that a checkpoint may store.
fn convert(tensor: &Tensor) -> candle_core::Result<Option<StoredTensor<'static>>> {
    let (storage, data) = match tensor.dtype() {
        DType::F32 => (StorageType::F32, bytes(tensor, f32::to_le_bytes)?),
        DType::F16 => (StorageType::F16, bytes(tensor, half::f16::to_le_bytes)?),
        DType::BF16 => (StorageType::BF16, bytes(tensor, half::bf16::to_le_bytes)?),
        _ => return Ok(None),
    };
    Ok(Some(StoredTensor {
        storage,
        shape: tensor.dims().to_vec(),
        data: Cow::Owned(data),
    }))
}

fn bytes<T: WithDType, const BYTES: usize>(
    tensor: &Tensor,
    to_bytes: fn(T) -> [u8; BYTES],
) -> candle_core::Result<Vec<u8>> {
    let values = tensor.flatten_all()?.to_vec1::<T>()?;
    Ok(values.into_iter().flat_map(to_bytes).collect())
}

impl Checkpoint for Stored<'_> {
    /// None of a builder, which does not list them.
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Builder(_) => Vec::new(),
            Self::Map(map) => map.keys().map(String::as_str).collect(),
        }
    }

    fn tensor(&self, name: &str) -> Option<StoredTensor<'_>> {
        match self {
            Self::Builder(builder) if builder.contains_tensor(name) => {
                convert(&builder.get_unchecked(name).ok()?).ok()?
            }
            Self::Builder(_) => None,
            Self::Map(map) => map.get(name).map(|tensor| StoredTensor {
                storage: tensor.storage,
                shape: tensor.shape.clone(),
                data: Cow::Borrowed(&tensor.data),
            }),
        }
    }

    fn release(&self, _: &StoredTensor<'_>) {}

    fn file_of(&self, _: &str) -> &Path {
        Path::new(SOURCE)
    }
}
