//! What one row of the table of families says.

use super::tensor_names::TensorNames;
use super::variants::{AttentionGate, Biases, NormPlacement, QueryKeyNorm, Residual, Scores};
use crate::backend::{Activation, GateOrder, Gating, NormKind, Pairing};

/// A family of models: all that its files leave unsaid.
#[derive(Debug, PartialEq)]
pub struct Preset {
    /// The models, as their makers call them.
    pub models: &'static str,
    /// Its `model_type`s in config.json; the first is the family's name.
    pub model_types: &'static [&'static str],
    /// Its `general.architecture` in GGUF.
    pub gguf: &'static str,
    /// How Hugging Face's checkpoints name its tensors.
    pub tensors: &'static TensorNames,
    /// The kind of every norm; the epsilon where the file gives none.
    pub norm: NormKind,
    /// Where the norms of mixer and MLP stand.
    pub norm_placement: NormPlacement,
    /// Whether norms of mean and variance have biases.
    pub norm_biases: bool,
    /// The epsilon of norms on what mixer and MLP return, where it differs from the others'.
    pub after_epsilon: Option<f32>,
    /// Of which norms Hugging Face's checkpoints hold the weights less one.
    pub norms_less_one: LessOne,
    /// Norms on queries and keys.
    pub query_key_norm: QueryKeyNorm,
    /// Whether some of its models have none.
    pub may_lack_query_key_norm: bool,
    /// How mixer and MLP are chained, unless the file says that they are sequential.
    pub residual: Residual,
    /// The MLP of every layer that has no experts.
    pub mlp: DenseMlp,
    /// How many times as wide as the hidden size it is, where the file doesn't say (GPT-2).
    pub mlp_ratio: Option<usize>,
    /// What its mixtures of experts are like, if it has any.
    pub experts: Option<ExpertsPreset>,
    /// Whether some of its models have none.
    pub may_lack_experts: bool,
    /// Its nonlinearity, where the file names none.
    pub activation: Activation,
    /// Which linear layers must have a bias.
    pub biases: Biases,
    /// How a layer learns of positions.
    pub positions: Positions,
    /// Its layers that are not attention, if it has any; files say which they are.
    pub recurrent: Option<RecurrentKind>,
    /// Whether a layer is a mixer or an MLP alone (Nemotron-H).
    pub half_layers: bool,
    /// Whether attention is over compressed keys and values (DeepSeek-V3).
    pub latent: bool,
    /// Whether config.json states the MLP's width before it is adjusted (LFM2).
    pub adjusted_width: bool,
    /// Which elements a rotary embedding pairs in Hugging Face's checkpoints.
    pub pairing: Pairing,
    /// Which elements a rotary embedding pairs in GGUF files: converters permute some families' heads.
    pub gguf_pairing: Pairing,
    /// Which layers see a window alone, where the file doesn't say.
    pub sliding: SlidingLayers,
    /// The window, where neither kind of file gives one.
    pub window: Option<usize>,
    /// The factor on the attention's scores.
    pub attention_scale: AttentionScale,
    /// Whether heads differ between layers with a window and those without (Gemma 4).
    pub heads_by_sliding: bool,
    /// Whether values have a norm without weights.
    pub value_norm: bool,
    /// Whether the last layers may use the keys and values of earlier ones.
    pub may_share_keys: bool,
    /// Whether its layers may have inputs of their own.
    pub may_have_layer_inputs: bool,
    /// Whether its residual stream has several parts.
    pub streams: bool,
    /// Whether its layers have factors on the residual stream.
    pub layer_scales: bool,
    /// The gate of what heads attend to.
    pub attention_gate: AttentionGate,
    /// Whether attention has sinks.
    pub attention_sinks: bool,
    /// Whether YaRN's blend is rounded to whole dimensions in GGUF files, which don't say.
    pub rounded_yarn: bool,
    /// The cap on attention's scores, where the file has no word of it.
    pub attention_softcap: Option<f32>,
    /// The cap on logits, where the file has no word of it.
    pub logit_softcap: Option<f32>,
    /// What multiplies embeddings.
    pub embedding_scale: EmbeddingScale,
    /// Whether a norm without weights follows the embedding.
    pub embedding_norm: bool,
    /// Whether files may state a factor on what mixer and MLP return.
    pub has_residual_scale: bool,
    /// What multiplies logits.
    pub logit_scale: LogitScale,
}

impl Preset {
    /// The `model_type` that config.json files use.
    pub fn name(&self) -> &'static str {
        self.model_types.first().copied().unwrap_or(self.gguf)
    }
}

/// A kind of layers that are not attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecurrentKind {
    /// Gated convolutions over a few tokens.
    ShortConv,
    /// Gated delta nets.
    DeltaNet {
        /// Whether converters to GGUF reorder the value heads.
        is_reordered: bool,
    },
    /// Selective state spaces.
    StateSpace(StateSpacePreset),
}

/// What a family's selective state spaces are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateSpacePreset {
    /// Norm and gate of its output; files may say that there is no norm, or that it comes first.
    pub finish: GateOrder,
    /// Whether the norm is of each group's heads.
    pub norm_by_group: bool,
    /// Whether each layer has one beside its attention.
    pub beside_attention: bool,
}

/// An MLP without experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenseMlp {
    /// `down(activation(gate(x)) * up(x))`
    Gated,
    /// `down(activation(up(x)))`
    Plain,
}

/// Norms whose weights are stored less one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LessOne {
    /// None of them.
    None,
    /// Those of layers.
    Layers,
    /// All of them.
    All,
}

/// What multiplies embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingScale {
    /// Nothing.
    None,
    /// The root of the hidden size (Gemma).
    RootOfHidden,
    /// What the file says, or else nothing (Granite).
    Stated,
}

/// What multiplies logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitScale {
    /// Nothing.
    None,
    /// What the file says.
    Factor,
    /// One over what the file says (Granite).
    Divisor,
    /// What config.json says; converters fold it into weights (Falcon-H1).
    Folded,
}

/// What a family's mixtures of experts are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertsPreset {
    /// What the router's logits count.
    pub scores: Scores,
    /// Whether the weights of the chosen experts are divided by their sum, where the file doesn't say.
    pub normalized: bool,
    /// Whether it may say.
    pub states_normalized: bool,
    /// Whether it may state a factor on the weights.
    pub states_scale: bool,
    /// What is added to that sum.
    pub epsilon: f32,
    /// How their two halves are joined, where the file doesn't say; `None`: by a product with the model's activation.
    pub gating: Option<Gating>,
    /// How many of a group's scores count, where experts lie in groups.
    pub counted_of_group: usize,
    /// Whether the router has a bias for the choice, where the file doesn't say.
    pub biased: bool,
    /// The expert that all tokens pass through.
    pub shared: SharedExpert,
    /// Whether they are gated.
    pub gated: bool,
    /// Whether the family's other MLP stands beside them, and the router has a norm of its own (Gemma 4).
    pub beside_dense: bool,
}

/// Whether a mixture has an expert that all tokens pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedExpert {
    /// It has none.
    None,
    /// It has one, weighted by the sigmoid of a product of its own; the file states its width.
    Gated,
    /// It has one; the file states its width.
    Ungated,
    /// It has one; the file states how many times as wide as another (DeepSeek-V3).
    Times,
}

/// How a layer learns of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// A learned embedding, added to the tokens' (GPT-2).
    Learned,
    /// One rotary embedding in every layer.
    Rotary,
    /// A rotary embedding for layers with a window, and another for those without (Gemma 3).
    RotaryBySliding,
    /// One rotary embedding, but none in each n-th layer (SmolLM3).
    RotaryButEvery(usize),
    /// One rotary embedding, which is stretched in layers without a window alone (OLMo 3).
    RotaryStretchedUnlessSliding,
    /// One rotary embedding, but none in layers without a window where others have one (Cohere 2).
    RotaryIfSliding,
    /// One rotary embedding, if the file says so (Granite 4).
    RotaryIfStated,
    /// None: recurrent layers know of the order of tokens.
    Unstated,
}

/// Which layers see a window alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlidingLayers {
    /// None of them.
    None,
    /// None of them, unless config.json asks for it from some layer on (Qwen).
    FromALayer,
    /// All of them.
    All,
    /// The first, the third and so on (Gemma 2).
    EveryOther,
    /// All but each n-th (Gemma 3).
    AllButEvery(usize),
}

impl SlidingLayers {
    /// Whether a layer is one of them.
    pub(super) fn contains(self, layer: usize) -> bool {
        match self {
            Self::None | Self::FromALayer => false,
            Self::All => true,
            Self::EveryOther => layer.is_multiple_of(2),
            Self::AllButEvery(n) => !(layer + 1).is_multiple_of(n),
        }
    }
}

/// The factor on the attention's scores: the inverse root of a width, unless it is stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionScale {
    /// A head's width.
    HeadDim,
    /// None: the file states the factor (Granite).
    Stated,
    /// None: the factor is 1 (Gemma 4).
    One,
    /// What `query_pre_attn_scalar` says, or else 256. GGUF has no such key: there it is a head's width, but in the
    /// largest model, which is known by its number of layers, a head's share of the hidden size.
    QueryScalar {
        /// Layers of the largest model.
        largest: usize,
    },
}
