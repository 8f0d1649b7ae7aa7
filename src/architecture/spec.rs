//! What a decoder-only transformer is made of, whatever file described it.

use super::preset::{EmbeddingScale, Preset};
use super::variants::{AttentionGate, Biases, MlpSpec, NormPlacement, QueryKeyNorm, Residual};
use crate::backend::{Activation, AttentionShape, GateOrder, NormKind, Rope};

/// Everything but the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The family; names depend on it, never the computation.
    pub family: &'static Preset,
    /// Tokens known to the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Tokens that the model was made for.
    pub context_length: usize,
    /// One entry a layer.
    pub layers: Vec<LayerSpec>,
    /// Layers after them that predict further tokens.
    pub prediction_layers: usize,
    /// The rotary embeddings that layers refer to.
    pub ropes: Vec<Rope>,
    /// The kind of every norm.
    pub norm: NormKind,
    /// The kind of the norms on what mixer and MLP return.
    pub after_norm: NormKind,
    /// Where the norms of mixer and MLP stand.
    pub norm_placement: NormPlacement,
    /// Norms on queries and keys.
    pub query_key_norm: QueryKeyNorm,
    /// Whether values have a norm on each head, without weights (Gemma 4).
    pub value_norm: bool,
    /// The gate of what heads attend to.
    pub attention_gate: AttentionGate,
    /// Whether each head has a score that takes part in the softmax and has no value (an attention sink).
    pub attention_sinks: bool,
    /// The MLP's nonlinearity.
    pub activation: Activation,
    /// How mixer and MLP are chained.
    pub residual: Residual,
    /// Factor on what mixer and MLP return, before it joins the residual stream (Granite).
    pub residual_scale: f32,
    /// Factors on an MLP's gate, and on what it returns (Falcon-H1).
    pub mlp_scales: [f32; 2],
    /// A learned embedding of positions (GPT-2).
    pub learned_positions: bool,
    /// Which linear layers must have a bias.
    pub biases: Biases,
    /// Factor on the embedding (Gemma: the root of the hidden size).
    pub embedding_scale: f32,
    /// Whether a norm without weights follows the embedding (Muse Glimmer).
    pub embedding_norm: bool,
    /// Inputs that each layer has of its own (Gemma 3n, Gemma 4).
    pub layer_inputs: Option<LayerInputsSpec>,
    /// Whether each layer has a factor on the residual stream after it (Gemma 4).
    pub layer_scales: bool,
    /// The parts of the residual stream (Gemma 3n).
    pub streams: Option<StreamsSpec>,
    /// Factor on the logits.
    pub logit_scale: f32,
    /// Logits become `cap * tanh(logit / cap)`.
    pub logit_softcap: Option<f32>,
    /// The head is the embedding; `None`: whatever the checkpoint holds.
    pub tied_head: Option<bool>,
}

impl ModelSpec {
    /// Whether activations exceed the range of f16: Gemma's do, whose embeddings are scaled up.
    pub fn has_wide_range(&self) -> bool {
        self.family.embedding_scale == EmbeddingScale::RootOfHidden
    }

    /// The most tokens of a text whose rotary embeddings are those trained on, where longer texts have others.
    pub fn stretches_beyond(&self) -> Option<usize> {
        let stretched = self.ropes.iter().filter_map(|rope| rope.stretched.as_ref());
        stretched.map(|stretched| stretched.beyond).min()
    }

    /// The model with the layer that predicts one more token (multi-token prediction), which is like the last layers are: its
    /// attention is the last without a window and with keys and values of its own. `None` where there is no such, or layers are
    /// not all alike.
    pub fn with_prediction_layer(&self) -> Option<Self> {
        if self.family.half_layers || self.streams.is_some() || self.layer_inputs.is_some() {
            return None;
        }
        let mut mixers = self.layers.iter().rev().map(|layer| layer.mixer);
        let mixer = mixers.find(|mixer| match mixer {
            MixerSpec::Attention(attention) => {
                attention.window.is_none() && mixer.lender().is_none()
            }
            MixerSpec::Latent(_) => true,
            _ => false,
        })?;
        let mlp = self.layers.last()?.mlp;
        let mut spec = self.clone();
        spec.layers.push(LayerSpec { mixer, mlp });
        Some(spec)
    }

    /// Whether layers read keys and values of another model: these are a draft head's.
    pub fn reads_target(&self) -> bool {
        let mut attentions = self
            .layers
            .iter()
            .filter_map(|layer| layer.mixer.attention());
        attentions.any(|attention| attention.source == KeyValueSource::Target)
    }

    /// The attention of the first layer that is attention.
    pub fn first_attention(&self) -> Option<AttentionSpec> {
        let mut layers = self.layers.iter();
        layers.find_map(|layer| layer.mixer.attention())
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MixerSpec {
    /// Causal attention over keys and values.
    Attention(AttentionSpec),
    /// A gated convolution over a few tokens (LFM2).
    ShortConv(ShortConvSpec),
    /// A gated delta net (Qwen3-Next).
    DeltaNet(DeltaNetSpec),
    /// A selective state space (Mamba-2).
    StateSpace(StateSpaceSpec),
    /// Both, side by side (Falcon-H1).
    AttentionAndStateSpace(AttentionSpec, StateSpaceSpec),
    /// Attention over compressed keys and values (DeepSeek-V3).
    Latent(LatentSpec),
    /// The layer has only a second half (Nemotron-H).
    None,
}

impl MixerSpec {
    /// The attention, if it is one.
    pub fn attention(self) -> Option<AttentionSpec> {
        match self {
            Self::Attention(attention) | Self::AttentionAndStateSpace(attention, _) => {
                Some(attention)
            }
            Self::ShortConv(_)
            | Self::DeltaNet(_)
            | Self::StateSpace(_)
            | Self::Latent(_)
            | Self::None => None,
        }
    }

    /// Its state space, if it has one.
    pub fn state_space(self) -> Option<StateSpaceSpec> {
        match self {
            Self::StateSpace(space) | Self::AttentionAndStateSpace(_, space) => Some(space),
            _ => None,
        }
    }

    /// Its attention over compressed keys and values, if it has one.
    pub fn latent(self) -> Option<LatentSpec> {
        match self {
            Self::Latent(latent) => Some(latent),
            _ => None,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Attention(_) => "attention",
            Self::ShortConv(_) => "convolution",
            Self::DeltaNet(_) => "gated delta net",
            Self::StateSpace(_) => "state space",
            Self::AttentionAndStateSpace(..) => "attention and state space",
            Self::Latent(_) => "latent attention",
            Self::None => "MLP",
        }
    }

    /// Values of the states that a sequence has of it, in a model of this width.
    pub fn state_values(&self, hidden_size: usize) -> usize {
        match self {
            Self::Attention(_) | Self::Latent(_) | Self::None => 0,
            Self::ShortConv(spec) => spec.taps * hidden_size,
            Self::DeltaNet(spec) => {
                let keys = spec.key_heads * spec.key_dim;
                let values = spec.value_heads * spec.value_dim;
                spec.taps * (2 * keys + values) + spec.key_dim * values
            }
            Self::StateSpace(spec) | Self::AttentionAndStateSpace(_, spec) => {
                let inner = spec.heads * spec.head_dim;
                let channels = inner + 2 * spec.groups * spec.state_dim;
                spec.taps * channels + spec.state_dim * inner
            }
        }
    }

    /// The shape of the keys and values that a sequence has of it, if they are its own.
    pub fn cached_shape(self) -> Option<AttentionShape> {
        match self {
            Self::Latent(latent) => Some(latent.shape()),
            _ => {
                let own = self.attention().filter(|own| own.source.is_own());
                own.map(|attention| attention.shape)
            }
        }
    }

    /// The layer whose keys and values it uses, if it has none of its own.
    pub fn lender(self) -> Option<usize> {
        match self.attention()?.source {
            KeyValueSource::Layer(lender) => Some(lender),
            KeyValueSource::Projections
            | KeyValueSource::OneProjection
            | KeyValueSource::Target => None,
        }
    }
}

/// A convolution over a few tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortConvSpec {
    /// How many tokens it sees: the last one and those before it.
    pub taps: usize,
}

/// A gated delta net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaNetSpec {
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values, a multiple of those.
    pub value_heads: usize,
    /// Elements of a query, or a key.
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// How many tokens the convolution sees.
    pub taps: usize,
    /// Whether value heads that follow each other share a key head; else each follows those of the other key heads (GGUF).
    pub is_grouped: bool,
}

/// What differs between the attention of a model's layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSpec {
    /// Its heads.
    pub shape: AttentionShape,
    /// A token sees itself and the `window - 1` tokens before it; `None`: all before it.
    pub window: Option<usize>,
    /// Index into [`ModelSpec::ropes`]; `None`: no rotary embedding in this layer.
    pub rope: Option<usize>,
    /// Where its keys and values come from.
    pub source: KeyValueSource,
    /// Factor on what it returns.
    pub output_scale: f32,
}

/// A selective state space, and the convolution before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StateSpaceSpec {
    /// Heads.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Groups of heads that share what enters the state and what is read from it.
    pub groups: usize,
    /// Elements of these.
    pub state_dim: usize,
    /// How many tokens the convolution sees.
    pub taps: usize,
    /// Norm and gate of its output.
    pub finish: GateOrder,
    /// Into how many parts the norm divides the output.
    pub norm_parts: usize,
    /// The smallest and the largest step.
    pub step_limits: (f32, f32),
    /// Factors of its parts.
    pub factors: StateSpaceFactors,
}

/// Factors in a state space (Falcon-H1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StateSpaceFactors {
    /// On gate, x, what enters the state, what is read from it, and step sizes.
    pub parts: [f32; 5],
    /// On what it returns.
    pub output: f32,
}

impl StateSpaceFactors {
    /// None.
    pub const ONE: Self = Self {
        parts: [1.0; 5],
        output: 1.0,
    };
}

/// Attention over compressed keys and values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentSpec {
    /// Heads.
    pub heads: usize,
    /// Width of the compressed queries; `None`: they are not compressed.
    pub query_rank: Option<usize>,
    /// Width of the compressed keys and values.
    pub rank: usize,
    /// Elements of a head's queries and keys that are not rotated.
    pub plain_dim: usize,
    /// Those that are; keys of all heads share them.
    pub rotary_dim: usize,
    /// Elements of a head's values.
    pub value_dim: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Index into [`ModelSpec::ropes`].
    pub rope: usize,
}

impl LatentSpec {
    /// The shape of the attention over compressed keys and values, which are those of one head.
    pub fn shape(&self) -> AttentionShape {
        AttentionShape {
            heads: self.heads,
            kv_heads: 1,
            head_dim: self.rotary_dim + self.rank,
            scale: self.scale,
            softcap: None,
        }
    }
}

/// Where an attention's keys and values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyValueSource {
    /// A projection each.
    Projections,
    /// One projection, whose results are also the values before they are normalized and rotated as keys (Gemma 4).
    OneProjection,
    /// An earlier layer's, by its number (Gemma 3n, Gemma 4).
    Layer(usize),
    /// Those of the target's last layer of its kind: the layer is a draft head's (Gemma 4's assistants).
    Target,
}

impl KeyValueSource {
    /// Whether the layer has keys and values of its own.
    pub fn is_own(self) -> bool {
        match self {
            Self::Projections | Self::OneProjection => true,
            Self::Layer(_) | Self::Target => false,
        }
    }
}

/// A residual stream of several parts, of which layers compute on the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamsSpec {
    /// How many parts it has.
    pub count: usize,
    /// Width of the path around attention.
    pub laurel_rank: usize,
}

/// Inputs that each layer has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerInputsSpec {
    /// Width of a layer's input.
    pub width: usize,
    /// Tokens that have inputs of their own; others have those of the first.
    pub vocab_size: usize,
}
