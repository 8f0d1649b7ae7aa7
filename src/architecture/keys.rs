//! What both kinds of file state, and the reader that each kind has.

use std::fmt::Display;

use super::preset::{Preset, StateSpacePreset};
use super::rope::Scaling;
use crate::backend::{Activation, GateOrder, Pairing, QueryGrowth};
use crate::error::{Error, Result};

/// A fact under the names that files give it; a kind of file that has no name for it never states it.
pub(super) struct Key {
    /// In config.json; the first that is there counts.
    pub(super) json: &'static [&'static str],
    /// In GGUF metadata, after the architecture's name.
    pub(super) gguf: Option<&'static str>,
}

const fn key(json: &'static [&'static str], gguf: &'static str) -> Key {
    Key {
        json,
        gguf: Some(gguf),
    }
}

const fn json_key(json: &'static [&'static str]) -> Key {
    Key { json, gguf: None }
}

const EPSILONS: &[&str] = &[
    "rms_norm_eps",
    "layer_norm_epsilon",
    "layer_norm_eps",
    "norm_eps",
    "norm_epsilon",
];

pub(super) const VOCAB_SIZE: Key = json_key(&["vocab_size"]);
pub(super) const HIDDEN_SIZE: Key = key(&["hidden_size", "n_embd"], "embedding_length");
pub(super) const LAYERS: Key = key(&["num_hidden_layers", "n_layer"], "block_count");
/// Layers that predict more than one token ahead, after the others; no model here has them compute.
pub(super) const PREDICTION_LAYERS: Key =
    key(&["num_nextn_predict_layers"], "nextn_predict_layers");
pub(super) const HEADS: Key = key(&["num_attention_heads", "n_head"], "attention.head_count");
pub(super) const KV_HEADS: Key = key(&["num_key_value_heads"], "attention.head_count_kv");
pub(super) const HEAD_DIM: Key = key(&["head_dim"], "attention.key_length");
pub(super) const INTERMEDIATE_SIZE: Key = key(
    &["block_ff_dim", "intermediate_size", "n_inner"],
    "feed_forward_length",
);
pub(super) const EXPERTS: Key = key(
    &["num_local_experts", "num_experts", "n_routed_experts"],
    "expert_count",
);
pub(super) const CHOSEN_EXPERTS: Key = key(
    &["num_experts_per_tok", "top_k_experts"],
    "expert_used_count",
);
pub(super) const EXPERT_WIDTH: Key = key(&["moe_intermediate_size"], "expert_feed_forward_length");
pub(super) const SHARED_EXPERT_WIDTH: Key = key(
    &[
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
    ],
    "expert_shared_feed_forward_length",
);
pub(super) const SHARED_EXPERTS: Key = key(&["n_shared_experts"], "expert_shared_count");
pub(super) const EXPERT_GROUPS: Key = key(&["n_group"], "expert_group_count");
pub(super) const CHOSEN_GROUPS: Key = key(&["topk_group"], "expert_group_used_count");
pub(super) const NORMALIZED_EXPERTS: Key = key(&["norm_topk_prob"], "expert_weights_norm");
pub(super) const ACTIVATION: Key = json_key(&[
    "hidden_activation",
    "hidden_act",
    "activation_function",
    "mlp_hidden_act",
]);
pub(super) const BIASED_ROUTER: Key = json_key(&["use_expert_bias"]);
pub(super) const ROUTER_SCALE: Key = key(&["routed_scaling_factor"], "expert_weights_scale");
pub(super) const EXPERT_LIMIT: Key = json_key(&["swiglu_limit"]);
pub(super) const EXPERT_ALPHA: Key = json_key(&["swiglu_alpha"]);
pub(super) const DELTA_KEY_HEADS: Key = key(&["linear_num_key_heads"], "ssm.group_count");
pub(super) const DELTA_VALUE_HEADS: Key = key(&["linear_num_value_heads"], "ssm.time_step_rank");
pub(super) const DELTA_KEY_DIM: Key = key(&["linear_key_head_dim"], "ssm.state_size");
pub(super) const DELTA_VALUE_DIM: Key = json_key(&["linear_value_head_dim"]);
pub(super) const DELTA_INNER: Key = key(&["mamba_d_ssm"], "ssm.inner_size");
pub(super) const DELTA_TAPS: Key = key(&["linear_conv_kernel_dim"], "ssm.conv_kernel");
pub(super) const FULL_INTERVAL: Key = key(&["full_attention_interval"], "full_attention_interval");
pub(super) const SPACE_HEADS: Key =
    key(&["mamba_n_heads", "mamba_num_heads"], "ssm.time_step_rank");
pub(super) const SPACE_HEAD_DIM: Key = json_key(&["mamba_d_head", "mamba_head_dim"]);
pub(super) const SPACE_EXPANSION: Key = json_key(&["mamba_expand", "expand"]);
pub(super) const SPACE_GROUPS: Key = key(&["mamba_n_groups", "n_groups"], "ssm.group_count");
pub(super) const SPACE_STATE: Key = key(&["mamba_d_state", "ssm_state_size"], "ssm.state_size");
pub(super) const SPACE_TAPS: Key = key(&["mamba_d_conv", "conv_kernel"], "ssm.conv_kernel");
pub(super) const LATENT_SIZE: Key = key(&["moe_latent_size"], "moe_latent_size");
pub(super) const QUERY_RANK: Key = key(&["q_lora_rank"], "attention.q_lora_rank");
pub(super) const KEY_RANK: Key = key(&["kv_lora_rank"], "attention.kv_lora_rank");
pub(super) const PLAIN_DIM: Key = json_key(&["qk_nope_head_dim"]);
pub(super) const WHOLE_DIM: Key = Key {
    json: &[],
    gguf: Some("attention.key_length_mla"),
};
/// The same in files from before that key: of each head, not of compressed keys.
pub(super) const WHOLE_DIM_OF_HEAD: Key = Key {
    json: &[],
    gguf: Some("attention.key_length"),
};
pub(super) const VALUE_DIM_OF_HEAD: Key = Key {
    json: &[],
    gguf: Some("attention.value_length"),
};
pub(super) const ROTARY_DIM: Key = key(&["qk_rope_head_dim"], "rope.dimension_count");
pub(super) const VALUE_DIM: Key = key(&["v_head_dim"], "attention.value_length_mla");
pub(super) const CONVOLVED: Key = key(&["conv_L_cache"], "shortconv.l_cache");
/// Layers at the start that have no experts.
pub(super) const DENSE_LAYERS: Key = key(
    &["first_k_dense_replace", "num_dense_layers"],
    "leading_dense_block_count",
);
pub(super) const CONTEXT_LENGTH: Key = key(
    &["max_position_embeddings", "n_positions", "n_ctx"],
    "context_length",
);
pub(super) const RMS_EPSILON: Key = key(EPSILONS, "attention.layer_norm_rms_epsilon");
pub(super) const LAYER_EPSILON: Key = key(EPSILONS, "attention.layer_norm_epsilon");
pub(super) const AFTER_EPSILON: Key = json_key(&["post_norm_eps"]);
pub(super) const QUERY_NORM_FACTOR: Key = json_key(&["qk_scale_factor"]);
pub(super) const EMBEDDING_SCALE: Key = key(&["embedding_multiplier"], "embedding_scale");
pub(super) const RESIDUAL_SCALE: Key = key(&["residual_multiplier"], "residual_scale");
pub(super) const LOGIT_SCALE: Key = key(
    &[
        "logit_scale",
        "logits_scaling",
        "output_multiplier",
        "lm_head_multiplier",
    ],
    "logit_scale",
);
pub(super) const ATTENTION_SCALE: Key = key(&["attention_multiplier"], "attention.scale");
pub(super) const SHARED_KEYS: Key = key(&["num_kv_shared_layers"], "attention.shared_kv_layers");
pub(super) const LAYER_INPUTS: Key = key(
    &["hidden_size_per_layer_input"],
    "embedding_length_per_layer_input",
);
pub(super) const LAYER_INPUTS_VOCAB: Key = json_key(&["vocab_size_per_layer_input"]);
pub(super) const STREAMS: Key = key(&["altup_num_inputs"], "altup.num_inputs");
pub(super) const LAUREL_RANK: Key = json_key(&["laurel_rank"]);
pub(super) const QUERY_SCALAR: Key = json_key(&["query_pre_attn_scalar"]);
pub(super) const SCALED_ATTENTION: Key = json_key(&["scale_attn_weights"]);
pub(super) const SCALED_BY_LAYER: Key = json_key(&["scale_attn_by_inverse_layer_idx"]);
pub(super) const ATTENTION_SOFTCAP: Key =
    key(&["attn_logit_softcapping"], "attn_logit_softcapping");
pub(super) const LOGIT_SOFTCAP: Key = key(&["final_logit_softcapping"], "final_logit_softcapping");
pub(super) const PARALLEL_RESIDUAL: Key = key(&["use_parallel_residual"], "use_parallel_residual");
pub(super) const ATTENTION_BIAS: Key = json_key(&["attention_bias", "use_bias"]);
pub(super) const TIED_HEAD: Key = json_key(&["tie_embedding", "tie_word_embeddings"]);
pub(super) const WINDOW: Key = key(&["sliding_window"], "attention.sliding_window");
pub(super) const SLIDING_PATTERN: Key = key(
    &["sliding_window_pattern", "_sliding_window_pattern"],
    "attention.sliding_window_pattern",
);
pub(super) const NO_ROPE_INTERVAL: Key = json_key(&["no_rope_layer_interval"]);
pub(super) const THETA: Key = key(&["rope_theta", "rotary_emb_base"], "rope.freq_base");
pub(super) const SLIDING_THETA: Key = key(&["rope_local_base_freq"], "rope.freq_base_swa");

pub(super) const ROTARY_FRACTION: Key = json_key(&["partial_rotary_factor", "rotary_pct"]);

/// Sizes past this are typing errors or attacks, not models.
pub(super) const MAX_SIZE: u64 = 1 << 24;
/// So are more layers than these.
pub(super) const MAX_LAYERS: usize = 1 << 12;
/// Parts of a residual stream.
pub(super) const MAX_STREAMS: usize = 16;
/// Convolutions over more tokens.
pub(super) const MAX_TAPS: usize = 64;
/// And more experts of a layer.
pub(super) const MAX_EXPERTS: usize = 1 << 12;

/// For which layers a rotary embedding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RopeFor {
    /// All that have one, or those without a window.
    Full,
    /// Those with a window.
    Sliding,
}

impl RopeFor {
    /// The key of its base.
    pub(super) fn theta(self) -> &'static Key {
        match self {
            Self::Full => &THETA,
            Self::Sliding => &SLIDING_THETA,
        }
    }
}

/// A rotary embedding as a file describes it.
pub(super) struct RopeParameters {
    /// Elements of a head that are rotated.
    pub(super) dims: usize,
    /// Base of the frequencies.
    pub(super) theta: f64,
    /// How they are stretched.
    pub(super) scaling: Scaling,
    /// Factor on the scores of attention over compressed keys (YaRN).
    pub(super) latent_scale: f64,
    /// By how much queries grow with their positions.
    pub(super) growth: Option<QueryGrowth>,
}

/// What a layer consists of, where it has one half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Recurrent,
    Attention,
    Mlp,
    Experts,
}

/// What a file states of one layer's heads.
pub(super) struct LayerHeads {
    pub(super) head_dim: Option<usize>,
    pub(super) kv_heads: Option<usize>,
}

impl LayerHeads {
    pub(super) const UNSTATED: Self = Self {
        head_dim: None,
        kv_heads: None,
    };
}

/// Reads rotary embeddings from one kind of file.
pub(super) trait RopeReader {
    /// That of these layers, with heads of so many elements.
    fn rope(
        &self,
        rope_for: RopeFor,
        preset: &'static Preset,
        head_dim: usize,
        context_length: usize,
    ) -> Result<RopeParameters>;
}

/// Looks keys up in one kind of file.
pub(super) trait KeyReader: RopeReader {
    /// A positive integer.
    fn size(&self, key: &Key) -> Result<Option<usize>>;

    /// A positive integer of one of the layers, where the file may state one for each.
    fn layer_size(&self, key: &Key, layer: usize, layers: usize) -> Result<Option<usize>>;

    /// What the file states of a layer's heads, in a family where layers with a window and others differ.
    fn heads_of(&self, layer: usize, slides: bool) -> Result<LayerHeads>;

    /// Whether the values of a layer are its keys, in such a family.
    fn has_one_projection(&self, layer: usize, slides: bool) -> bool;

    /// Whether the MLPs of layers without keys and values of their own are twice as wide as stated.
    fn doubles_mlps(&self) -> bool;

    /// How many tokens have inputs of each layer.
    fn layer_inputs_vocab(&self) -> Result<Option<usize>>;

    /// A positive number.
    fn number(&self, key: &Key) -> Result<Option<f64>>;

    /// A flag.
    fn flag(&self, key: &Key) -> Option<bool>;

    /// Whether the file says that the model has no such thing (null, or zero).
    fn says_none(&self, key: &Key) -> bool;

    /// Whether the file states zero.
    fn is_zero(&self, key: &Key) -> bool;

    /// The number of tokens.
    fn vocab_size(&self) -> Result<Option<usize>>;

    /// The MLP's nonlinearity.
    fn activation(&self) -> Result<Option<Activation>>;

    /// The width whose inverse root scales attention in families with a `query_pre_attn_scalar`.
    fn query_scalar(&self, head_dim: usize, share: usize, is_largest: bool) -> Result<f64>;

    /// Whether a layer, of so many, sees a window alone.
    fn slides(&self, layer: usize, layers: usize, preset: &Preset) -> Result<bool>;

    /// Whether a layer, of so many, is not attention, in a family that has such layers.
    fn is_recurrent(&self, layer: usize, layers: usize) -> Result<bool>;

    /// What a layer consists of, in a family whose layers have one half.
    fn half(&self, layer: usize, layers: usize) -> Result<Half>;

    /// How many layers there are, where a list says it.
    fn listed_layers(&self) -> Option<usize>;

    /// Factors that only config.json states, under one name; ones where it doesn't.
    fn factors<const N: usize>(&self, name: &str) -> Result<[f32; N]>;

    /// The smallest and the largest step of state spaces.
    fn step_limits(&self) -> Result<(f32, f32)>;

    /// By how many standard deviations a layer's gate must exceed its mean; `None`: it need not.
    fn gate_deviations(&self, layer: usize, layers: usize) -> Result<Option<f32>>;

    /// The rank of the path around attention, where the file's tensors say it.
    fn laurel_rank(&self) -> Option<usize>;

    /// Norm and gate of state spaces' outputs.
    fn state_space_finish(&self, preset: StateSpacePreset) -> GateOrder;

    /// Whether it is a GGUF file, in which converters reordered rows, and folded factors into weights.
    fn is_converted(&self) -> bool;

    /// Whether the model has no norms on queries and keys, in a family some of whose models have none.
    fn lacks_query_key_norm(&self) -> bool;

    /// The MLP's width where the file states it before it is adjusted.
    fn adjusted(&self, width: usize) -> Result<usize>;

    /// Whether a layer, of so many, has experts, in a family that has them.
    fn has_experts(&self, layer: usize, layers: usize) -> Result<bool>;

    /// Whether the file says that a layer has a rotary embedding.
    fn states_rotated(&self, layer: usize) -> Result<Option<bool>>;

    /// Which elements of a head are rotated together.
    fn pairing(&self, preset: &Preset) -> Pairing;

    /// Refuses what only this kind of file can ask for and no model here computes.
    fn check(&self, preset: &Preset, head_dim: usize) -> Result<()>;

    /// A key that must be there is not.
    fn missing(&self, key: &Key) -> Error;

    /// A value that can't be right.
    fn wrong(&self, key: &Key, expected: &str, found: &dyn Display) -> Error;

    /// Whether a router whose file states groups heeds them.
    fn groups_experts(&self) -> bool;

    /// Whether the number of layers includes those that predict further tokens.
    fn counts_prediction_layers(&self) -> bool;

    /// A positive integer that the file must state, unless its family has a default.
    fn required(&self, key: &Key) -> Result<usize> {
        self.size_or(key, None)
    }

    /// A positive integer, or its default.
    fn size_or(&self, key: &Key, default: Option<usize>) -> Result<usize> {
        let size = self.size(key)?.or(default);
        size.ok_or_else(|| self.missing(key))
    }

    /// A soft cap, or its default.
    fn cap(&self, key: &Key, default: Option<f32>) -> Result<Option<f32>> {
        if self.says_none(key) {
            return Ok(None);
        }
        let cap = self.number(key)?.map(|cap| cap as f32);
        Ok(cap.or(default))
    }
}
