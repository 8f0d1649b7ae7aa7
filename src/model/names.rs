//! Every checkpoint's tensor names, and how its layouts become ours.
//!
//! Ours: one matrix `[out, in]` for each linear layer. Theirs: fused query-key-value matrices, fused
//! gate and up, transposed convolutions (GPT-2), heads interleaved (GPT-NeoX), prefixes or none.

use std::borrow::Cow;
use std::path::Path;

use super::spec::{Architecture, ModelSpec};
use crate::error::{Error, Result};
use crate::weights::{Checkpoint, StorageType, StoredTensor};

/// A tensor of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Slot {
    Embedding,
    Positions,
    FinalNorm,
    Head,
    Layer(usize, LayerSlot),
}

/// A tensor of ours in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LayerSlot {
    AttentionNorm,
    Query,
    Key,
    Value,
    Output,
    QueryNorm,
    KeyNorm,
    PostAttentionNorm,
    MlpNorm,
    Gate,
    Up,
    Down,
    PostMlpNorm,
}

/// Which rows of a stored matrix are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of them.
    Whole,
    /// Those of one of several matrices stacked: the rows before it, and its own.
    Stacked { before: usize, rows: usize },
    /// `heads` groups of three heads each, of which ours is number `index` (GPT-NeoX).
    Interleaved {
        index: usize,
        heads: usize,
        head_dim: usize,
    },
}

/// A place where a tensor of ours may be stored.
struct Candidate {
    name: &'static str,
    part: Part,
}

/// How a family of checkpoints names its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Gguf,
    /// Llama's names, which most Hugging Face models share.
    Llama,
    Gpt2,
    GptNeox,
}

/// A checkpoint read through our names.
pub struct NamedWeights<'a> {
    checkpoint: &'a dyn Checkpoint,
    spec: &'a ModelSpec,
    dialect: Dialect,
    /// What stands before every name but the head's.
    prefix: &'static str,
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
        let dialect = match spec.architecture {
            _ if is_gguf => Dialect::Gguf,
            Architecture::Gpt2 => Dialect::Gpt2,
            Architecture::GptNeox => Dialect::GptNeox,
            _ => Dialect::Llama,
        };
        let (embedding, _) = dialect.global(Slot::Embedding);
        let prefix = [
            "",
            "model.",
            "transformer.",
            "gpt_neox.",
            "language_model.model.",
            "model.language_model.",
        ]
        .into_iter()
        .find(|prefix| {
            checkpoint
                .tensor(&format!("{prefix}{embedding}.weight"))
                .is_some()
        })
        .ok_or_else(|| {
            let reason = format!("tensor `{embedding}.weight` is missing under every known prefix");
            Error::corrupt(source, reason)
        })?;
        Ok(Self {
            checkpoint,
            spec,
            dialect,
            prefix,
            source,
        })
    }

    /// A weight matrix of shape `[rows, columns]`.
    pub fn matrix(&self, slot: Slot, rows: usize, columns: usize) -> Result<StoredTensor<'a>> {
        self.find(slot, "weight", &[rows, columns])?
            .ok_or_else(|| self.missing(slot, "weight"))
    }

    /// A matrix that the checkpoint may lack.
    pub fn optional_matrix(
        &self,
        slot: Slot,
        rows: usize,
        columns: usize,
    ) -> Result<Option<StoredTensor<'a>>> {
        self.find(slot, "weight", &[rows, columns])
    }

    /// A vector: a norm's weight, or a bias.
    pub fn vector(&self, slot: Slot, suffix: &str, length: usize) -> Result<StoredTensor<'a>> {
        self.find(slot, suffix, &[length])?
            .ok_or_else(|| self.missing(slot, suffix))
    }

    /// A vector that the checkpoint may lack.
    pub fn optional_vector(
        &self,
        slot: Slot,
        suffix: &str,
        length: usize,
    ) -> Result<Option<StoredTensor<'a>>> {
        self.find(slot, suffix, &[length])
    }

    /// Says that a tensor's data were used.
    pub fn release(&self, tensor: &StoredTensor<'_>) {
        self.checkpoint.release(tensor);
    }

    /// Whether norms are stored less one, as Hugging Face's Gemma checkpoints do.
    pub fn norms_are_offset(&self) -> bool {
        let gemma = [Architecture::Gemma2, Architecture::Gemma3];
        self.dialect == Dialect::Llama && gemma.contains(&self.spec.architecture)
    }

    fn find(&self, slot: Slot, suffix: &str, shape: &[usize]) -> Result<Option<StoredTensor<'a>>> {
        for candidate in self.candidates(slot) {
            for name in self.full_names(slot, candidate.name, suffix) {
                if let Some(stored) = self.checkpoint.tensor(&name) {
                    let tensor = self.ours(stored, &name, candidate.part, shape)?;
                    if tensor.shape != shape {
                        return Err(self.misshapen(&name, shape, &tensor.shape));
                    }
                    return Ok(Some(tensor));
                }
            }
        }
        Ok(None)
    }

    /// The head stands outside the prefix in Hugging Face's layout, but exporters differ.
    fn full_names(&self, slot: Slot, name: &str, suffix: &str) -> Vec<String> {
        match slot {
            Slot::Layer(layer, _) => {
                let layers = self.dialect.layers();
                vec![format!("{}{layers}.{layer}.{name}.{suffix}", self.prefix)]
            }
            Slot::Head => vec![
                format!("{name}.{suffix}"),
                format!("{}{name}.{suffix}", self.prefix),
                format!("language_model.{name}.{suffix}"),
            ],
            _ => vec![format!("{}{name}.{suffix}", self.prefix)],
        }
    }

    fn candidates(&self, slot: Slot) -> Vec<Candidate> {
        let whole = |name| Candidate {
            name,
            part: Part::Whole,
        };
        let Slot::Layer(_, slot) = slot else {
            let (name, other) = self.dialect.global(slot);
            return std::iter::once(name).chain(other).map(whole).collect();
        };
        let mut candidates: Vec<Candidate> = self
            .dialect
            .layer(slot)
            .iter()
            .copied()
            .map(whole)
            .collect();
        let (queries, keys) = (self.spec.query_size(), self.spec.kv_size());
        let width = self.spec.intermediate_size;
        let qkv = Some(self.dialect.fused_qkv());
        let gate_up = self.dialect.fused_gate_up();
        let (fused, index, before, rows) = match slot {
            LayerSlot::Query => (qkv, 0, 0, queries),
            LayerSlot::Key => (qkv, 1, queries, keys),
            LayerSlot::Value => (qkv, 2, queries + keys, keys),
            LayerSlot::Gate => (gate_up, 0, 0, width),
            LayerSlot::Up => (gate_up, 1, width, width),
            _ => (None, 0, 0, 0),
        };
        if let Some(name) = fused {
            let interleaved = self.dialect == Dialect::GptNeox;
            let part = if interleaved {
                Part::Interleaved {
                    index,
                    heads: self.spec.attention.heads,
                    head_dim: self.spec.attention.head_dim,
                }
            } else {
                Part::Stacked { before, rows }
            };
            // Phi-3's GGUF files call the fused gate and up simply "up": its size tells.
            candidates.insert(usize::from(slot != LayerSlot::Up), Candidate { name, part });
        }
        candidates
    }

    /// The stored tensor in our layout: transposed and cut where its own differs.
    fn ours(
        &self,
        stored: StoredTensor<'a>,
        name: &str,
        part: Part,
        shape: &[usize],
    ) -> Result<StoredTensor<'a>> {
        let is_layer_matrix = shape.len() == 2 && (name.contains(".h.") || name.starts_with("h."));
        let stored = if self.dialect == Dialect::Gpt2 && is_layer_matrix {
            transpose(&stored).ok_or_else(|| self.misshapen(name, shape, &stored.shape))?
        } else {
            stored
        };
        let found = stored.shape.clone();
        let cut = match part {
            Part::Whole => Some(stored),
            // A plain "up" where the fused matrix was looked for.
            Part::Stacked { .. } if stored.shape == shape => Some(stored),
            Part::Stacked { before, rows } => row_range(stored, before, rows),
            Part::Interleaved {
                index,
                heads,
                head_dim,
            } => interleaved_rows(&stored, index, heads, head_dim),
        };
        cut.ok_or_else(|| self.misshapen(name, shape, &found))
    }

    fn misshapen(&self, name: &str, expected: &[usize], found: &[usize]) -> Error {
        Error::corrupt(
            self.checkpoint.file_of(name),
            format!(
                "tensor `{name}` has shape {found:?}, but the configuration asks for {expected:?}"
            ),
        )
    }

    fn missing(&self, slot: Slot, suffix: &str) -> Error {
        let names: Vec<String> = self
            .candidates(slot)
            .iter()
            .flat_map(|candidate| self.full_names(slot, candidate.name, suffix))
            .collect();
        Error::corrupt(
            self.source,
            format!("tensor missing: {}", names.join(" or ")),
        )
    }
}

impl Dialect {
    /// What stands before a layer's number.
    fn layers(self) -> &'static str {
        match self {
            Self::Gguf => "blk",
            Self::Llama | Self::GptNeox => "layers",
            Self::Gpt2 => "h",
        }
    }

    fn global(self, slot: Slot) -> (&'static str, Option<&'static str>) {
        match (self, slot) {
            (Self::Gguf, Slot::Embedding) => ("token_embd", None),
            (Self::Gguf, Slot::Positions) => ("position_embd", None),
            (Self::Gguf, Slot::FinalNorm) => ("output_norm", None),
            (Self::Gguf, _) => ("output", None),
            (Self::Llama, Slot::Embedding) => ("embed_tokens", None),
            (Self::Llama, Slot::FinalNorm) => ("norm", None),
            (Self::Gpt2, Slot::Embedding) => ("wte", None),
            (_, Slot::Positions) => ("wpe", None),
            (Self::Gpt2, Slot::FinalNorm) => ("ln_f", None),
            (Self::GptNeox, Slot::Embedding) => ("embed_in", None),
            (Self::GptNeox, Slot::FinalNorm) => ("final_layer_norm", None),
            (Self::GptNeox, _) => ("embed_out", Some("lm_head")),
            (_, _) => ("lm_head", None),
        }
    }

    fn fused_qkv(self) -> &'static str {
        match self {
            Self::Gguf => "attn_qkv",
            Self::Llama => "self_attn.qkv_proj",
            Self::Gpt2 => "attn.c_attn",
            Self::GptNeox => "attention.query_key_value",
        }
    }

    fn fused_gate_up(self) -> Option<&'static str> {
        match self {
            Self::Gguf => Some("ffn_up"),
            Self::Llama => Some("mlp.gate_up_proj"),
            Self::Gpt2 | Self::GptNeox => None,
        }
    }

    fn layer(self, slot: LayerSlot) -> &'static [&'static str] {
        use LayerSlot as S;
        match self {
            Self::Gguf => match slot {
                S::AttentionNorm => &["attn_norm"],
                S::Query => &["attn_q"],
                S::Key => &["attn_k"],
                S::Value => &["attn_v"],
                S::Output => &["attn_output"],
                S::QueryNorm => &["attn_q_norm"],
                S::KeyNorm => &["attn_k_norm"],
                S::PostAttentionNorm => &["post_attention_norm"],
                S::MlpNorm => &["ffn_norm"],
                S::Gate => &["ffn_gate"],
                S::Up => &["ffn_up"],
                S::Down => &["ffn_down"],
                S::PostMlpNorm => &["post_ffw_norm"],
            },
            Self::Llama => match slot {
                S::AttentionNorm => &["input_layernorm"],
                S::Query => &["self_attn.q_proj"],
                S::Key => &["self_attn.k_proj"],
                S::Value => &["self_attn.v_proj"],
                S::Output => &["self_attn.o_proj"],
                S::QueryNorm => &["self_attn.q_norm"],
                S::KeyNorm => &["self_attn.k_norm"],
                // Without norms behind attention and MLP, the name means the norm before the MLP.
                S::PostAttentionNorm => &["post_attention_layernorm"],
                S::MlpNorm => &["pre_feedforward_layernorm", "post_attention_layernorm"],
                S::Gate => &["mlp.gate_proj"],
                S::Up => &["mlp.up_proj"],
                S::Down => &["mlp.down_proj"],
                S::PostMlpNorm => &["post_feedforward_layernorm"],
            },
            Self::Gpt2 => match slot {
                S::AttentionNorm => &["ln_1"],
                S::Query => &["attn.q_proj"],
                S::Key => &["attn.k_proj"],
                S::Value => &["attn.v_proj"],
                S::Output => &["attn.c_proj"],
                S::MlpNorm => &["ln_2"],
                S::Up => &["mlp.c_fc"],
                S::Down => &["mlp.c_proj"],
                _ => &[],
            },
            Self::GptNeox => match slot {
                S::AttentionNorm => &["input_layernorm"],
                S::Query => &["attention.q_proj"],
                S::Key => &["attention.k_proj"],
                S::Value => &["attention.v_proj"],
                S::Output => &["attention.dense"],
                S::MlpNorm => &["post_attention_layernorm"],
                S::Up => &["mlp.dense_h_to_4h"],
                S::Down => &["mlp.dense_4h_to_h"],
                _ => &[],
            },
        }
    }
}

/// So many rows of a matrix, or elements of a vector, without a copy where the file is mapped.
fn row_range(tensor: StoredTensor<'_>, start: usize, count: usize) -> Option<StoredTensor<'_>> {
    let (rows, row_elements) = match tensor.shape[..] {
        [rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        _ => return None,
    };
    let row_bytes = tensor.storage.bytes(row_elements)?;
    let end = start.checked_add(count).filter(|end| *end <= rows)?;
    let bytes = start * row_bytes..end * row_bytes;
    let data = match tensor.data {
        Cow::Borrowed(data) => Cow::Borrowed(data.get(bytes)?),
        Cow::Owned(data) => Cow::Owned(data.get(bytes)?.to_vec()),
    };
    let mut shape = tensor.shape;
    *shape.first_mut()? = count;
    Some(StoredTensor {
        storage: tensor.storage,
        shape,
        data,
    })
}

/// The transpose of a matrix of plain numbers.
fn transpose(tensor: &StoredTensor<'_>) -> Option<StoredTensor<'static>> {
    let [rows, columns] = tensor.shape[..] else {
        return None;
    };
    let size = match tensor.storage {
        StorageType::F32 => 4,
        StorageType::F16 | StorageType::BF16 => 2,
        _ => return None,
    };
    let mut data = Vec::with_capacity(tensor.data.len());
    for column in 0..columns {
        for row in 0..rows {
            let start = (row * columns + column) * size;
            data.extend_from_slice(tensor.data.get(start..start + size)?);
        }
    }
    Some(StoredTensor {
        storage: tensor.storage,
        shape: vec![columns, rows],
        data: Cow::Owned(data),
    })
}

/// Part `index` of three of each head, gathered.
fn interleaved_rows(
    tensor: &StoredTensor<'_>,
    index: usize,
    heads: usize,
    head_dim: usize,
) -> Option<StoredTensor<'static>> {
    let mut data = Vec::with_capacity(tensor.data.len() / 3);
    for head in 0..heads {
        data.extend_from_slice(
            &row_range(tensor.clone(), (head * 3 + index) * head_dim, head_dim)?.data,
        );
    }
    let mut shape = tensor.shape.clone();
    *shape.first_mut()? = heads * head_dim;
    Some(StoredTensor {
        storage: tensor.storage,
        shape,
        data: Cow::Owned(data),
    })
}
