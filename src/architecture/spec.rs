//! What a decoder-only transformer is made of, whatever file described it.

use super::preset::Preset;
use super::variants::{Biases, MlpSpec, NormPlacement, QueryKeyNorm, Residual};
use crate::backend::{Activation, AttentionShape, NormKind, Rope};

/// Everything but the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The family; names depend on it, never the computation.
    pub family: &'static Preset,
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
    /// Whether each layer's scores are divided by its number, counted from one (some GPT-2s).
    pub scaled_by_layer: bool,
    /// One entry a layer.
    pub layers: Vec<LayerSpec>,
    /// Layers after them that predict further tokens, which are left alone.
    pub prediction_layers: usize,
    /// The rotary embeddings that layers refer to.
    pub ropes: Vec<Rope>,
    /// The kind of every norm.
    pub norm: NormKind,
    /// Where the norms of mixer and MLP stand.
    pub norm_placement: NormPlacement,
    /// Norms on queries and keys.
    pub query_key_norm: QueryKeyNorm,
    /// Whether each head has a score that takes part in the softmax and has no value (an attention sink).
    pub attention_sinks: bool,
    /// The MLP's nonlinearity.
    pub activation: Activation,
    /// How mixer and MLP are chained.
    pub residual: Residual,
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
    /// Whether activations exceed the range of f16: Gemma's do, whose embeddings are scaled up.
    pub fn has_wide_range(&self) -> bool {
        self.family.scaled_embedding
    }

    /// The most tokens of a text whose rotary embeddings are those trained on, where longer texts have others.
    pub fn stretches_beyond(&self) -> Option<usize> {
        let stretched = self.ropes.iter().filter_map(|rope| rope.stretched.as_ref());
        stretched.map(|stretched| stretched.beyond).min()
    }

    /// Width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.attention.heads * self.attention.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_size(&self) -> usize {
        self.attention.kv_heads * self.attention.head_dim
    }
}

/// One layer: what mixes the tokens, and what transforms each of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerSpec {
    /// The first half.
    pub mixer: MixerSpec,
    /// The second half.
    pub mlp: MlpSpec,
}

/// What lets a token see those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MixerSpec {
    /// Causal attention over keys and values.
    Attention(AttentionSpec),
    /// A gated convolution over a few tokens (LFM2).
    ShortConv(ShortConvSpec),
}

impl MixerSpec {
    /// The attention, if it is one.
    pub fn attention(self) -> Option<AttentionSpec> {
        match self {
            Self::Attention(attention) => Some(attention),
            Self::ShortConv(_) => None,
        }
    }
}

/// A convolution over a few tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortConvSpec {
    /// How many tokens it sees: the last one and those before it.
    pub taps: usize,
}

/// What differs between the attention of a model's layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionSpec {
    /// A token sees itself and the `window - 1` tokens before it; `None`: all before it.
    pub window: Option<usize>,
    /// Index into [`ModelSpec::ropes`]; `None`: no rotary embedding in this layer.
    pub rope: Option<usize>,
}
