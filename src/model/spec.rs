//! What a decoder-only transformer is made of, whatever file described it.

use crate::backend::{Activation, AttentionShape, NormKind, Rope};

/// The architectures this crate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Architecture {
    Gpt2,
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma2,
    Gemma3,
    Phi3,
    GptNeox,
    SmolLm3,
}

impl Architecture {
    /// Every architecture with its `model_type` in config.json and its `general.architecture` in GGUF.
    const NAMES: [(Self, &'static str, &'static str); 10] = [
        (Self::Gpt2, "gpt2", "gpt2"),
        (Self::Llama, "llama", "llama"),
        // GGUF files of Mistral models say "llama".
        (Self::Mistral, "mistral", "mistral"),
        (Self::Qwen2, "qwen2", "qwen2"),
        (Self::Qwen3, "qwen3", "qwen3"),
        (Self::Gemma2, "gemma2", "gemma2"),
        (Self::Gemma3, "gemma3_text", "gemma3"),
        (Self::Phi3, "phi3", "phi3"),
        (Self::GptNeox, "gpt_neox", "gptneox"),
        (Self::SmolLm3, "smollm3", "smollm3"),
    ];

    /// The architecture of a config.json's `model_type`.
    pub fn from_model_type(name: &str) -> Option<Self> {
        let name = if name == "gemma3" {
            "gemma3_text"
        } else {
            name
        };
        Self::NAMES
            .iter()
            .find(|(_, model_type, _)| *model_type == name)
            .map(|entry| entry.0)
    }

    /// The architecture of a GGUF file's `general.architecture`.
    pub fn from_gguf(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, _, gguf)| *gguf == name)
            .map(|entry| entry.0)
    }

    /// The `model_type` that config.json files use.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|entry| entry.0 == self)
            .map_or("unknown", |entry| entry.1)
    }

    /// All names, for the message that refuses another.
    pub fn supported() -> String {
        Self::NAMES.map(|entry| entry.1).join(", ")
    }
}

/// How a layer's two halves meet the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// Attention first, then the MLP on its result.
    Sequential,
    /// Attention and MLP both read the layer's input (GPT-NeoX).
    Parallel,
}

/// Which linear layers have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biases {
    /// Those for which the checkpoint holds one.
    AsStored,
    /// Query, key and value; the others as stored.
    Qkv,
    /// All of them.
    All,
}

/// What differs between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSpec {
    /// A token sees itself and the `window - 1` tokens before it; `None`: all before it.
    pub window: Option<usize>,
    /// Index into [`ModelSpec::ropes`]; `None`: no rotary embedding in this layer.
    pub rope: Option<usize>,
}

/// Everything but the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The family; only names and defaults depend on it, never the computation.
    pub architecture: Architecture,
    /// Tokens known to the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Tokens that the model was made for.
    pub context_length: usize,
    /// Shape of the attention heads.
    pub attention: AttentionShape,
    /// One entry a layer.
    pub layers: Vec<LayerSpec>,
    /// The rotary embeddings that layers refer to.
    pub ropes: Vec<Rope>,
    /// The kind of every norm.
    pub norm: NormKind,
    /// The MLP's nonlinearity.
    pub activation: Activation,
    /// Whether the MLP multiplies by a gate.
    pub gated: bool,
    /// How attention and MLP are chained.
    pub residual: Residual,
    /// Norms on what attention and MLP return, before it joins the residual (Gemma).
    pub post_norms: bool,
    /// Norms on each query and key head (Qwen3, Gemma 3).
    pub head_norms: bool,
    /// A learned embedding of positions (GPT-2).
    pub learned_positions: bool,
    /// Which linear layers must have a bias.
    pub biases: Biases,
    /// Factor on the embedding (Gemma: the root of the hidden size).
    pub embedding_scale: f32,
    /// Logits become `cap * tanh(logit / cap)`.
    pub logit_softcap: Option<f32>,
    /// The head is the embedding; `None`: whatever the checkpoint holds.
    pub tied_head: Option<bool>,
}

impl ModelSpec {
    /// Width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.attention.heads * self.attention.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_size(&self) -> usize {
        self.attention.kv_heads * self.attention.head_dim
    }
}
