//! Every checkpoint's tensor names, and how its layouts become ours.
//!
//! Ours: one matrix `[out, in]` for each linear layer. Theirs: fused query-key-value matrices, fused
//! gate and up, transposed convolutions (GPT-2), heads interleaved (GPT-NeoX), prefixes or none.

mod rows;

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::preset::LessOne;
use super::spec::{MixerSpec, ModelSpec};
pub use super::tensor_names::{ExpertNames, ExpertTensor, LayerTensor, ModelTensor, TensorNames};
use super::tensor_names::{GGUF, PREFIXES};
use super::variants::AttentionGate;
use crate::backend::AttentionShape;
use crate::error::{Error, Result};
use crate::weights::{Checkpoint, MatrixSource, PackedTensor, StoredRows, StoredTensor};
use rows::{Rows, transpose};

/// A name under which a tensor of ours may be stored, and which of its rows are ours.
struct Candidate {
    name: Cow<'static, str>,
    /// Whether nothing follows the name.
    is_whole_name: bool,
    rows: Rows,
}

impl Candidate {
    fn new(name: impl Into<Cow<'static, str>>, rows: Rows) -> Self {
        Self {
            name: name.into(),
            is_whole_name: false,
            rows,
        }
    }

    fn whole(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name, Rows::All)
    }
}

/// A checkpoint read through our names.
pub struct NamedWeights<'a> {
    checkpoint: &'a dyn Checkpoint,
    spec: &'a ModelSpec,
    names: &'static TensorNames,
    /// What precedes every name but the head's.
    prefix: &'static str,
    norms_less_one: LessOne,
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
        let names = if is_gguf { &GGUF } else { spec.family.tensors };
        let embedding = names.embedding;
        let is_there = |prefix: &&str| {
            checkpoint
                .tensor(&format!("{prefix}{embedding}.weight"))
                .is_some()
        };
        let prefix = PREFIXES.into_iter().find(is_there).ok_or_else(|| {
            let reason = format!("tensor `{embedding}.weight` is missing under every known prefix");
            Error::corrupt(source, reason)
        })?;
        let weights = Self {
            checkpoint,
            spec,
            names,
            prefix,
            norms_less_one: match is_gguf {
                true => LessOne::None,
                false => spec.family.norms_less_one,
            },
            joined: Mutex::default(),
            source,
        };
        weights.refuse_further_layers()?;
        Ok(weights)
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
        let in_prefix = name.strip_prefix(self.prefix);
        let number = in_prefix.and_then(|name| {
            let layer = name.strip_prefix(self.names.layers)?.strip_prefix('.')?;
            layer.split_once('.')?.0.parse::<usize>().ok()
        });
        // Those that predict further tokens come after the others.
        let is_further = number.is_some_and(|layer| layer >= self.spec.layers.len());
        !self.is_table(name) && !is_further && (in_prefix.is_some() || is_head())
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
        for candidate in self.candidates(tensor) {
            for name in self.full_names(tensor, &candidate, suffix) {
                if let Some(packed) = self.checkpoint.packed(&name) {
                    let found = packed.shape();
                    let ours = match &packed {
                        PackedTensor::Mxfp4(experts) => candidate.rows.of_packed(experts),
                        _ if candidate.rows == Rows::All => Some(packed.joined()?),
                        _ => self.rows_of_joined(&name, &packed, candidate.rows, shape)?,
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
                let is_transposed = self.names.transposed
                    && shape.len() == 2
                    && matches!(tensor, ModelTensor::Layer(..));
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

    /// Some rows of a tensor in several parts, of which others may be asked for next.
    fn rows_of_joined(
        &self,
        name: &str,
        packed: &PackedTensor<'_>,
        rows: Rows,
        shape: &[usize],
    ) -> Result<Option<StoredTensor<'a>>> {
        let mut last = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = match last.take().filter(|(joined, _)| joined == name) {
            Some((_, whole)) => whole,
            None => packed.joined()?,
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
            ModelTensor::Layer(layer, _) => {
                let layers = self.names.layers;
                let name = format!("{}{layers}.{layer}.{name}", self.prefix);
                match (candidate.is_whole_name, suffix, candidate.rows) {
                    (false, ..) => vec![format!("{name}.{suffix}")],
                    (true, "weight", _) => vec![name],
                    // gpt-oss's experts.
                    (true, "bias", Rows::OfExpert { .. }) => vec![format!("{name}_bias")],
                    (true, ..) => vec![],
                }
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
        let whole = |name: &'static str| Candidate::whole(name);
        let names = self.names;
        let (layer, tensor) = match tensor {
            ModelTensor::Embedding => return vec![whole(names.embedding)],
            ModelTensor::LayerInputs => return vec![whole(names.layer_inputs[0])],
            ModelTensor::LayerInputsProjection => return vec![whole(names.layer_inputs[1])],
            ModelTensor::LayerInputsNorm => return vec![whole(names.layer_inputs[2])],
            ModelTensor::StreamProjection(stream) => return self.of_stream(0, stream),
            ModelTensor::StreamUnembedding(stream) => return self.of_stream(1, stream),
            ModelTensor::Positions => return names.positions.map(whole).into_iter().collect(),
            ModelTensor::FinalNorm => {
                return names.final_norm.iter().copied().map(whole).collect();
            }
            ModelTensor::Head => return names.head.iter().copied().map(whole).collect(),
            ModelTensor::Layer(layer, LayerTensor::Expert(expert, tensor)) => {
                return self.of_expert(layer, expert, tensor);
            }
            ModelTensor::Layer(layer, tensor) => (layer, tensor),
        };
        if let Some(half) = self.half_of_query(layer, tensor) {
            return half;
        }
        let own = names.layer.iter().filter(|(named, _)| *named == tensor);
        let mut candidates: Vec<Candidate> = own.map(|(_, name)| whole(name)).collect();
        if tensor == LayerTensor::MlpNorm && self.spec.norm_placement.after() {
            // The others are names of the norm after attention.
            candidates.truncate(1);
        }
        let bare = names.bare.iter().filter(|(named, _)| *named == tensor);
        candidates.extend(bare.map(|(_, name)| Candidate {
            is_whole_name: true,
            ..whole(name)
        }));
        candidates.extend(self.of_key_heads(layer, tensor));
        candidates.extend(self.of_state_space(layer, tensor));
        candidates.extend(self.of_latent(layer, tensor));
        if let Some(fused) = self.fused(layer, tensor) {
            // Where "up" is both matrices' name, the size tells which it is.
            let index = usize::from(tensor != LayerTensor::Up);
            candidates.insert(index.min(candidates.len()), fused);
        }
        candidates
    }

    fn attention_of(&self, layer: usize) -> Option<AttentionShape> {
        let attention = self.spec.layers.get(layer)?.mixer.attention()?;
        Some(attention.shape)
    }

    /// Of each head of a gated attention's query matrix, the rows of the query or of the gate.
    fn half_of_query(&self, layer: usize, tensor: LayerTensor) -> Option<Vec<Candidate>> {
        if self.spec.attention_gate != AttentionGate::BesideQuery {
            return None;
        }
        let shape = self.attention_of(layer)?;
        let index = match tensor {
            LayerTensor::Query => 0,
            LayerTensor::QueryGate => 1,
            _ => return None,
        };
        let names = self
            .names
            .layer
            .iter()
            .filter(|(named, _)| *named == LayerTensor::Query);
        let rows = Rows::interleaved(index, 2, shape.heads, shape.head_dim);
        Some(names.map(|(_, name)| Candidate::new(*name, rows)).collect())
    }

    /// The rows of a delta net's matrices that are grouped by key head (Qwen3-Next).
    fn of_key_heads(&self, layer: usize, tensor: LayerTensor) -> Option<Candidate> {
        let MixerSpec::DeltaNet(spec) = self.spec.layers.get(layer)?.mixer else {
            return None;
        };
        let per_head = spec.value_heads / spec.key_heads;
        let (keys, values) = (spec.key_dim, per_head * spec.value_dim);
        let (name, group_rows, parts) = match tensor {
            LayerTensor::DeltaInput => (
                self.names.grouped_qkvz,
                2 * (keys + values),
                [(0, keys), (keys, keys), (2 * keys, values)],
            ),
            LayerTensor::DeltaGate => (
                self.names.grouped_qkvz,
                2 * (keys + values),
                [(2 * keys + values, values), (0, 0), (0, 0)],
            ),
            LayerTensor::DeltaStep => (
                self.names.grouped_ba,
                2 * per_head,
                [(0, per_head), (0, 0), (0, 0)],
            ),
            LayerTensor::DeltaDecay => (
                self.names.grouped_ba,
                2 * per_head,
                [(per_head, per_head), (0, 0), (0, 0)],
            ),
            _ => return None,
        };
        let rows = Rows::OfGroups {
            groups: spec.key_heads,
            group_rows,
            parts,
        };
        Some(Candidate::new(name, rows))
    }

    /// The matrices between the parts of a residual stream: each by itself, or all in one.
    fn of_stream(&self, direction: usize, stream: usize) -> Vec<Candidate> {
        let (name, rows) = (self.names.streams[direction], self.spec.hidden_size);
        let before = stream * rows;
        vec![
            Candidate::whole(format!("{name}.{stream}")),
            Candidate::new(name, Rows::Expert { before, rows }),
        ]
    }

    /// The rows of a state space's one input matrix.
    fn of_state_space(&self, layer: usize, tensor: LayerTensor) -> Vec<Candidate> {
        let spec = self.spec.layers.get(layer);
        let Some(space) = spec.and_then(|layer| layer.mixer.state_space()) else {
            return Vec::new();
        };
        let inner = space.heads * space.head_dim;
        let channels = inner + 2 * space.groups * space.state_dim;
        let (before, rows) = match tensor {
            LayerTensor::SpaceGate => (0, inner),
            LayerTensor::SpaceInput => (inner, channels),
            LayerTensor::SpaceStep => (inner + channels, space.heads),
            _ => return Vec::new(),
        };
        let rows = Rows::Stacked { before, rows };
        let names = self.names.fused_space.iter();
        names.map(|name| Candidate::new(*name, rows)).collect()
    }

    /// The rows of matrices of compressed keys and values.
    fn of_latent(&self, layer: usize, tensor: LayerTensor) -> Vec<Candidate> {
        let spec = self.spec.layers.get(layer);
        let Some(spec) = spec.and_then(|layer| layer.mixer.latent()) else {
            return Vec::new();
        };
        let of_head = spec.plain_dim + spec.value_dim;
        let (key_down, kv_up) = (self.names.fused_key_down, self.names.fused_kv_up);
        let stacked = |name, before, rows| Candidate::new(name, Rows::Stacked { before, rows });
        let of_head_alone = |name, head: usize, rows: usize| {
            let before = head * rows;
            Candidate::new(name, Rows::Expert { before, rows })
        };
        match tensor {
            LayerTensor::KeyDown => vec![stacked(key_down, 0, spec.rank)],
            LayerTensor::RotaryKey => vec![stacked(key_down, spec.rank, spec.rotary_dim)],
            LayerTensor::KeyUp(head) => vec![stacked(kv_up, head * of_head, spec.plain_dim)],
            LayerTensor::TransposedKeyUp(head) => {
                vec![of_head_alone("attn_k_b", head, spec.rank)]
            }
            LayerTensor::ValueUp(head) => {
                let before = head * of_head + spec.plain_dim;
                vec![
                    of_head_alone("attn_v_b", head, spec.value_dim),
                    stacked(kv_up, before, spec.value_dim),
                ]
            }
            _ => Vec::new(),
        }
    }

    /// The names under which an expert's matrix may be stored.
    fn of_expert(&self, layer: usize, expert: usize, tensor: ExpertTensor) -> Vec<Candidate> {
        let spec = self.spec.layers.get(layer);
        let experts = spec.and_then(|layer| layer.mlp.experts());
        let width = experts.map_or(0, |experts| experts.width);
        let hidden = self.spec.hidden_size;
        let index = tensor as usize;
        let of = |names: &ExpertNames| match names {
            ExpertNames::Each { experts, names } => {
                Candidate::whole(format!("{experts}.{expert}.{}", names[index]))
            }
            ExpertNames::Stacked(names) => {
                let rows = if tensor == ExpertTensor::Down {
                    hidden
                } else {
                    width
                };
                let before = expert * rows;
                Candidate::new(names[index], Rows::Expert { before, rows })
            }
            ExpertNames::StackedFused { gate_up, down } => {
                let (name, before, rows) = match tensor {
                    ExpertTensor::Gate => (*gate_up, 2 * expert * width, width),
                    ExpertTensor::Up => (*gate_up, (2 * expert + 1) * width, width),
                    ExpertTensor::Down => (*down, expert * hidden, hidden),
                };
                Candidate {
                    is_whole_name: true,
                    ..Candidate::new(name, Rows::Expert { before, rows })
                }
            }
            ExpertNames::Interleaved { gate_up, down } => {
                let (name, first, step) = match tensor {
                    ExpertTensor::Gate => (*gate_up, 0, 2),
                    ExpertTensor::Up => (*gate_up, 1, 2),
                    ExpertTensor::Down => (*down, 0, 1),
                };
                let rows = Rows::OfExpert {
                    expert,
                    first,
                    step,
                };
                Candidate {
                    is_whole_name: true,
                    ..Candidate::new(name, rows)
                }
            }
        };
        self.names.experts.iter().map(of).collect()
    }

    /// The matrix in which a tensor may be fused with others.
    fn fused(&self, layer: usize, tensor: LayerTensor) -> Option<Candidate> {
        let shape = self.attention_of(layer);
        let sizes = shape.map(|shape| (shape, shape.query_size(), shape.kv_size()));
        let (shape, index, before, rows) = match (tensor, sizes) {
            (LayerTensor::Query, Some((shape, queries, _))) => (shape, 0, 0, queries),
            (LayerTensor::Key, Some((shape, queries, keys))) => (shape, 1, queries, keys),
            (LayerTensor::Value, Some((shape, queries, keys))) => (shape, 2, queries + keys, keys),
            (LayerTensor::Gate | LayerTensor::Up, _) => {
                let width = self.spec.layers.get(layer)?.mlp.dense_width()?;
                let before = if tensor == LayerTensor::Up { width } else { 0 };
                let rows = width;
                let name = self.names.fused_gate_up?;
                return Some(Candidate::new(name, Rows::Stacked { before, rows }));
            }
            (LayerTensor::SharedGate | LayerTensor::SharedUp, _) => {
                let rows = self.spec.layers.get(layer)?.mlp.experts()?.shared?.width;
                let before = if tensor == LayerTensor::SharedUp {
                    rows
                } else {
                    0
                };
                let name = self.names.fused_shared?;
                return Some(Candidate::new(name, Rows::Stacked { before, rows }));
            }
            _ => return None,
        };
        let rows = match self.names.interleaved_qkv {
            true => Rows::interleaved(index, 3, shape.heads, shape.head_dim),
            false => Rows::Stacked { before, rows },
        };
        Some(Candidate::new(self.names.fused_qkv, rows))
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
        let mixtures = (!self.has_experts()).then_some(&MIXTURES);
        // Some packings are read: then the tensor is simply not there.
        let packings = self.checkpoint.packed_names().is_empty();
        let packings = packings.then_some(&PACKINGS).into_iter();
        let mut forms = mixtures
            .into_iter()
            .chain(packings)
            .chain(&UNSUPPORTED_FORMS);
        let form = forms.find_map(|(marks, form)| {
            let marked = |name: &&str| marks.iter().any(|mark| name.contains(mark));
            Some((stored.iter().copied().find(marked)?, form))
        });
        if let Some((name, form)) = form {
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

/// Parts of tensors' names, and the form of weights that they tell of.
type Form = (&'static [&'static str], &'static str);

/// A form that only some families have.
const MIXTURES: Form = (
    &[".experts.", "_exps.", ".block_sparse_moe."],
    "mixtures of experts",
);

/// Packings of weights, where none that is read was found.
const PACKINGS: Form = (
    &[
        ".qweight",
        ".qzeros",
        ".weight_packed",
        ".weight_scale",
        ".absmax",
        ".SCB",
        "_blocks",
    ],
    "weights packed by bitsandbytes or compressed-tensors, or by GPTQ or AWQ without a word in config.json,",
);

/// Forms that no model here reads.
const UNSUPPORTED_FORMS: [Form; 2] = [
    (
        &[".lora_A.", ".lora_B.", ".lora_a", ".lora_b"],
        "adapters without their base model's weights",
    ),
    (&[".time_mix_"], "recurrent layers of this kind"),
];
