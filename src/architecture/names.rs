//! Every checkpoint's tensor names, and how its layouts become ours.
//!
//! Ours: one matrix `[out, in]` for each linear layer. Theirs: fused query-key-value matrices, fused
//! gate and up, transposed convolutions (GPT-2), heads interleaved (GPT-NeoX), prefixes or none.

mod candidates;
mod rows;
mod unsupported;

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::preset::LessOne;
use super::spec::ModelSpec;
pub use super::tensor_names::{ExpertNames, ExpertTensor, LayerTensor, ModelTensor, TensorNames};
use super::tensor_names::{GGUF, PREDICTION_PREFIXES, PREFIXES};
use crate::error::{Error, Result};
use crate::weights::{Checkpoint, Layout, MatrixSource, PackedTensor, StoredRows, StoredTensor};
use candidates::{Candidate, Candidates};
use rows::{Rows, transpose};

/// About how many rows of two tensors are compared to see whether one is a copy.
const COMPARED_ROWS: usize = 64;

/// A checkpoint read through our names.
pub struct NamedWeights<'a> {
    checkpoint: &'a dyn Checkpoint,
    spec: &'a ModelSpec,
    names: &'static TensorNames,
    /// What precedes every name but the head's.
    prefix: &'static str,
    norms_less_one: LessOne,
    /// The first layer that predicts further tokens.
    first_prediction: usize,
    /// The tensor in several parts that was joined last, by its name.
    joined: Mutex<Option<(String, StoredTensor<'static>)>>,
    /// For errors about tensors that are missing.
    source: &'a Path,
}

impl<'a> NamedWeights<'a> {
    /// Finds out how the checkpoint names its tensors. `source` is the model's file or folder.
    pub fn new(
        checkpoint: &'a dyn Checkpoint,
        spec: &'a ModelSpec,
        is_gguf: bool,
        source: &'a Path,
    ) -> Result<Self> {
        let names = Self::names(spec, is_gguf);
        let prefix = Self::find_prefix(checkpoint, names).ok_or_else(|| {
            let embedding = names.embedding;
            let reason = format!("tensor `{embedding}.weight` is missing under every known prefix");
            Error::corrupt(source, reason)
        })?;
        let weights = Self {
            prefix,
            ..Self::of_layers(checkpoint, spec, is_gguf, source)
        };
        weights.refuse_further_layers()?;
        Ok(weights)
    }

    /// The same of the layer that predicts further tokens, which is the last of `spec`; the checkpoint may hold no other.
    pub fn of_prediction(
        checkpoint: &'a dyn Checkpoint,
        spec: &'a ModelSpec,
        is_gguf: bool,
        source: &'a Path,
    ) -> Self {
        Self {
            first_prediction: spec.layers.len().saturating_sub(1),
            ..Self::of_layers(checkpoint, spec, is_gguf, source)
        }
    }

    /// The same of layers alone: the checkpoint may have no embedding.
    pub fn of_layers(
        checkpoint: &'a dyn Checkpoint,
        spec: &'a ModelSpec,
        is_gguf: bool,
        source: &'a Path,
    ) -> Self {
        let names = Self::names(spec, is_gguf);
        Self {
            checkpoint,
            spec,
            names,
            prefix: Self::find_prefix(checkpoint, names).unwrap_or_default(),
            norms_less_one: match is_gguf {
                true => LessOne::None,
                false => spec.family.norms_less_one,
            },
            first_prediction: spec.layers.len(),
            joined: Mutex::default(),
            source,
        }
    }

    fn names(spec: &ModelSpec, is_gguf: bool) -> &'static TensorNames {
        match is_gguf {
            true => &GGUF,
            false => spec.family.tensors,
        }
    }

    fn find_prefix(checkpoint: &dyn Checkpoint, names: &TensorNames) -> Option<&'static str> {
        let embedding = names.embedding;
        let is_there = |prefix: &&str| {
            let name = format!("{prefix}{embedding}.weight");
            checkpoint.tensor(&name).is_some() || checkpoint.packed(&name).is_some()
        };
        PREFIXES.into_iter().find(is_there)
    }

    /// What an adapter must know of these weights.
    pub fn layout(&self) -> Layout {
        let is_head_there = || {
            let mut heads = self.names.head.iter();
            heads.any(|head| self.is_there(&format!("{head}.weight")))
        };
        let is_tied = self.spec.tied_head.unwrap_or_else(|| !is_head_there());
        let embedding = format!("{}{}.weight", self.prefix, self.names.embedding);
        let head = self.names.head.first();
        let head = head
            .filter(|_| is_tied)
            .map(|head| format!("{head}.weight"));
        let is_transposed = self.names.transposed;
        Layout {
            prefixes: &PREFIXES,
            transposed: is_transposed.then(|| format!("{}.", self.names.layers)),
            tied: head.map(|head| [head, embedding]),
        }
    }

    /// Refuses tensors of layers that the model is said not to have: without them, it would be another model.
    fn refuse_further_layers(&self) -> Result<()> {
        let layers = self.spec.layers.len();
        let prefix = format!("{}{}.", self.prefix, self.names.layers);
        let number = |name: &str| {
            let (number, _) = name.strip_prefix(&prefix)?.split_once('.')?;
            number.parse::<usize>().ok()
        };
        let names = self.checkpoint.names();
        let further = names.into_iter().find(|name| {
            number(name).is_some_and(|layer| layer >= layers + self.spec.prediction_layers)
        });
        match further {
            None => Ok(()),
            Some(name) => Err(Error::corrupt(
                self.checkpoint.file_of(name),
                format!(
                    "tensor `{name}` is of a layer beyond the {layers} that the configuration asks for"
                ),
            )),
        }
    }

    /// A weight matrix of shape `[rows, columns]`.
    pub fn matrix(
        &self,
        tensor: ModelTensor,
        rows: usize,
        columns: usize,
    ) -> Result<StoredTensor<'a>> {
        self.tensor(tensor, "weight", &[rows, columns])
    }

    /// A tensor of any shape.
    pub fn tensor(
        &self,
        tensor: ModelTensor,
        suffix: &str,
        shape: &[usize],
    ) -> Result<StoredTensor<'a>> {
        self.find(tensor, suffix, shape)?
            .ok_or_else(|| self.missing(tensor, suffix))
    }

    /// A matrix that the checkpoint may lack.
    pub fn optional_matrix(
        &self,
        tensor: ModelTensor,
        rows: usize,
        columns: usize,
    ) -> Result<Option<StoredTensor<'a>>> {
        self.find(tensor, "weight", &[rows, columns])
    }

    /// A table whose rows are read one by one.
    pub fn table(&self, tensor: ModelTensor, rows: usize, columns: usize) -> Result<StoredRows> {
        let candidates = self.candidates(tensor);
        let mut names = candidates
            .iter()
            .flat_map(|candidate| self.full_names(tensor, candidate, "weight"));
        let found = names.find_map(|name| Some((self.checkpoint.rows(&name)?, name)));
        match found {
            Some((table, _)) if table.shape() == [rows, columns] => Ok(table),
            Some((table, name)) => Err(self.misshapen(&name, &[rows, columns], &table.shape())),
            None => Err(self.missing(tensor, "weight")),
        }
    }

    /// Whether a tensor holds what another one does, as far as some of their rows tell, or is not there.
    pub fn is_copy(&self, copy: ModelTensor, of: ModelTensor, shape: [usize; 2]) -> Result<bool> {
        let [rows, columns] = shape;
        let Some(copy) = self.optional_matrix(copy, rows, columns)? else {
            return Ok(true);
        };
        let Some(of) = self.optional_matrix(of, rows, columns)? else {
            return Ok(false);
        };
        let width = copy.storage.bytes(columns).unwrap_or(0);
        let bytes = |row: usize| row * width..(row + 1) * width;
        let step = (rows / COMPARED_ROWS).max(1);
        let mut some = (0..rows).step_by(step);
        Ok(copy.storage == of.storage
            && some.all(|row| copy.data.get(bytes(row)) == of.data.get(bytes(row))))
    }

    /// Whether a tensor of the checkpoint is a table whose rows are read from the file one by one.
    pub fn is_table(&self, name: &str) -> bool {
        let table = name
            .strip_prefix(self.prefix)
            .and_then(|name| name.strip_prefix(self.names.layer_inputs[0]));
        table == Some(".weight")
    }

    /// Whether a tensor of the checkpoint is of the text model, and is brought to memory.
    pub fn is_loaded(&self, name: &str) -> bool {
        let is_head = || self.names.head.iter().any(|head| name.contains(head));
        if PREDICTION_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            return self.first_prediction < self.spec.layers.len();
        }
        let in_prefix = name.strip_prefix(self.prefix);
        let number = in_prefix.and_then(|name| {
            let layer = name.strip_prefix(self.names.layers)?.strip_prefix('.')?;
            layer.split_once('.')?.0.parse::<usize>().ok()
        });
        // Those that predict further tokens come after the others.
        let is_further = number.is_some_and(|layer| layer >= self.spec.layers.len());
        !self.is_table(name) && !is_further && (in_prefix.is_some() || is_head())
    }

    /// Whether the checkpoint has the layer that predicts further tokens.
    pub fn has_prediction(&self) -> bool {
        let tensor = ModelTensor::Layer(self.first_prediction, LayerTensor::PredictionInput);
        let candidates = self.candidates(tensor);
        let mut names = candidates
            .iter()
            .flat_map(|candidate| self.full_names(tensor, candidate, "weight"));
        names.any(|name| self.is_there(&name))
    }

    /// Whether the checkpoint has a tensor of this name, in whatever form.
    fn is_there(&self, name: &str) -> bool {
        self.checkpoint.tensor(name).is_some() || self.checkpoint.packed(name).is_some()
    }

    /// A vector: a norm's weight, or a bias.
    pub fn vector(
        &self,
        tensor: ModelTensor,
        suffix: &str,
        length: usize,
    ) -> Result<StoredTensor<'a>> {
        self.tensor(tensor, suffix, &[length])
    }

    /// A vector that the checkpoint may lack.
    pub fn optional_vector(
        &self,
        tensor: ModelTensor,
        suffix: &str,
        length: usize,
    ) -> Result<Option<StoredTensor<'a>>> {
        self.find(tensor, suffix, &[length])
    }

    /// Where a tensor is read again later; `None` if its data are a copy.
    pub fn source(&self, tensor: &StoredTensor<'_>) -> Option<Box<dyn MatrixSource>> {
        self.checkpoint.source(tensor)
    }

    /// Says that a tensor's data were used.
    pub fn release(&self, tensor: &StoredTensor<'_>) {
        self.checkpoint.release(tensor);
    }

    /// Whether the weights of a norm are stored less one, as Hugging Face's Gemma checkpoints do.
    pub fn is_less_one(&self, norm: ModelTensor) -> bool {
        match self.norms_less_one {
            LessOne::None => false,
            LessOne::Layers => matches!(norm, ModelTensor::Layer(..)),
            LessOne::All => true,
        }
    }

    fn find(
        &self,
        tensor: ModelTensor,
        suffix: &str,
        shape: &[usize],
    ) -> Result<Option<StoredTensor<'a>>> {
        let is_transposed =
            self.names.transposed && shape.len() == 2 && matches!(tensor, ModelTensor::Layer(..));
        for candidate in self.candidates(tensor) {
            for name in self.full_names(tensor, &candidate, suffix) {
                if let Some(packed) = self.checkpoint.packed(&name) {
                    let found = packed.shape();
                    let ours = match &packed {
                        PackedTensor::Mxfp4(experts) => candidate.rows.of_packed(experts),
                        _ => self.rows_of_joined(
                            (&name, &packed),
                            is_transposed,
                            candidate.rows,
                            shape,
                        )?,
                    };
                    return match ours {
                        Some(ours) if ours.shape == shape => Ok(Some(ours)),
                        _ => Err(self.misshapen(&name, shape, &found)),
                    };
                }
                let Some(stored) = self.checkpoint.tensor(&name) else {
                    continue;
                };
                let found = stored.shape.clone();
                let stored = match is_transposed {
                    true => transpose(&stored),
                    false => Some(stored),
                };
                let ours = stored.and_then(|stored| candidate.rows.of(stored, shape));
                return match ours {
                    Some(ours) if ours.shape == shape => Ok(Some(ours)),
                    Some(ours) => Err(self.misshapen(&name, shape, &ours.shape)),
                    None => Err(self.misshapen(&name, shape, &found)),
                };
            }
        }
        Ok(None)
    }

    /// Some rows of a tensor in several parts, or of its transpose, of which others may be asked for next.
    fn rows_of_joined(
        &self,
        (name, packed): (&str, &PackedTensor<'_>),
        is_transposed: bool,
        rows: Rows,
        shape: &[usize],
    ) -> Result<Option<StoredTensor<'a>>> {
        let join = || {
            let joined = packed.joined()?;
            match is_transposed {
                true => transposed(&joined),
                false => Ok(joined),
            }
        };
        if rows == Rows::All {
            return Ok(rows.of(join()?, shape));
        }
        let mut last = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = match last.take().filter(|(joined, _)| joined == name) {
            Some((_, whole)) => whole,
            None => join()?,
        };
        let view = StoredTensor {
            storage: whole.storage,
            shape: whole.shape.clone(),
            data: Cow::Borrowed(&whole.data),
        };
        let ours = rows.of(view, shape).map(|ours| StoredTensor {
            storage: ours.storage,
            shape: ours.shape,
            data: Cow::Owned(ours.data.into_owned()),
        });
        *last = Some((name.to_owned(), whole));
        Ok(ours)
    }

    /// The head stands outside the prefix in Hugging Face's layout, but exporters differ.
    fn full_names(&self, tensor: ModelTensor, candidate: &Candidate, suffix: &str) -> Vec<String> {
        let name = &candidate.name;
        match tensor {
            ModelTensor::Layer(layer, tensor) => {
                let suffix = match (candidate.is_whole_name, suffix, candidate.rows) {
                    (false, ..) => format!(".{suffix}"),
                    (true, "weight", _) => String::new(),
                    // gpt-oss's experts.
                    (true, "bias", Rows::OfExpert { .. }) => "_bias".into(),
                    (true, ..) => return vec![],
                };
                let layers = self.names.layers;
                let mut names = vec![format!("{}{layers}.{layer}.{name}{suffix}", self.prefix)];
                if let Some(further) = layer.checked_sub(self.first_prediction) {
                    let layer = match tensor.is_of_prediction() {
                        true => String::new(),
                        false => format!("{layers}.{further}."),
                    };
                    let others = PREDICTION_PREFIXES.iter();
                    names.extend(others.map(|prefix| format!("{prefix}{layer}{name}{suffix}")));
                }
                names
            }
            ModelTensor::Head => vec![
                format!("{name}.{suffix}"),
                format!("{}{name}.{suffix}", self.prefix),
                format!("language_model.{name}.{suffix}"),
            ],
            _ => vec![format!("{}{name}.{suffix}", self.prefix)],
        }
    }

    fn candidates(&self, tensor: ModelTensor) -> Vec<Candidate> {
        let candidates = Candidates {
            names: self.names,
            spec: self.spec,
        };
        candidates.of(tensor)
    }

    fn misshapen(&self, name: &str, expected: &[usize], found: &[usize]) -> Error {
        Error::corrupt(
            self.checkpoint.file_of(name),
            format!(
                "tensor `{name}` has shape {found:?}, but the configuration asks for {expected:?}"
            ),
        )
    }

    fn has_experts(&self) -> bool {
        let mut layers = self.spec.layers.iter();
        layers.any(|layer| layer.mlp.experts().is_some())
    }

    /// A tensor is not there: in another form, which is not supported, or not at all.
    fn missing(&self, tensor: ModelTensor, suffix: &str) -> Error {
        let stored = self.checkpoint.names();
        // Some packings are read: then the tensor is simply not there.
        let is_packed = !self.checkpoint.packed_names().is_empty();
        if let Some((name, form)) = unsupported::form(&stored, self.has_experts(), is_packed) {
            let reason = format!(
                "tensor `{name}`: {form} are not supported; a GGUF file of the same model may be, in a format that \
                 `specdec inspect` knows"
            );
            return Error::unsupported(self.source.display().to_string(), reason);
        }
        let names: Vec<String> = self
            .candidates(tensor)
            .iter()
            .flat_map(|candidate| self.full_names(tensor, candidate, suffix))
            .collect();
        Error::corrupt(
            self.source,
            format!("tensor missing: {}", names.join(" or ")),
        )
    }
}

/// The transpose of a matrix; its numbers are widened where they are quantized.
pub fn transposed(matrix: &StoredTensor<'_>) -> Result<StoredTensor<'static>> {
    let unquantized = || transpose(&matrix.widened().ok()?);
    let transposed = transpose(matrix).or_else(unquantized);
    transposed.ok_or_else(|| Error::Compute("a transposed tensor must be a matrix".into()))
}
