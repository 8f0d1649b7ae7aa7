//! How checkpoints name their tensors: a table for each way.

use LayerTensor as T;

/// A tensor of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ModelTensor {
    Embedding,
    Positions,
    /// The table of the layers' own inputs, and what the embedding adds to them.
    LayerInputs,
    LayerInputsProjection,
    LayerInputsNorm,
    /// From the first part of a residual stream to each of the others, and back.
    StreamProjection(usize),
    StreamUnembedding(usize),
    FinalNorm,
    Head,
    Layer(usize, LayerTensor),
}

/// A tensor of ours in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LayerTensor {
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
    /// What gates what is attended to, which may be a part of the query's matrix.
    QueryGate,
    DeltaInput,
    DeltaGate,
    DeltaDecay,
    DeltaStep,
    Decay,
    DecayLogarithm,
    DecayOffset,
    DeltaNorm,
    DeltaOutput,
    /// Parts of a state space's one input matrix.
    SpaceGate,
    SpaceInput,
    SpaceStep,
    SpaceNorm,
    SpaceSkip,
    SpaceOutput,
    /// Compressed queries, and queries of them.
    QueryDown,
    QueryDownNorm,
    QueryUp,
    /// Compressed keys and values, and the part of keys that is rotated.
    KeyDown,
    KeyDownNorm,
    RotaryKey,
    /// Of a head: what its keys and values are of compressed ones; the first also transposed.
    KeyUp(usize),
    TransposedKeyUp(usize),
    ValueUp(usize),
    ConvInput,
    Conv,
    ConvOutput,
    Router,
    RouterBias,
    Sinks,
    /// One of a mixture, by its number.
    Expert(usize, ExpertTensor),
    SharedExpertGate,
    SharedGate,
    SharedUp,
    SharedDown,
    /// The norm of a router that has one of its own.
    RouterNorm,
    /// A factor of each expert on its weight.
    ExpertScales,
    /// Norms of a dense MLP and of experts that stand side by side.
    ExpertsNorm,
    PostDenseNorm,
    PostExpertsNorm,
    /// Where a layer's own input enters.
    InputGate,
    InputProjection,
    InputNorm,
    LayerScale,
    /// What predicts and corrects the parts of a residual stream.
    StreamRouterNorm,
    StreamRouter,
    StreamPrediction,
    StreamCorrection,
    StreamScale,
    /// The path around attention.
    LaurelLeft,
    LaurelRight,
    LaurelNorm,
}

/// A tensor of ours in an expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ExpertTensor {
    Gate,
    Up,
    Down,
}

/// How checkpoints store the matrices of a layer's experts.
#[derive(Debug, PartialEq, Eq)]
pub enum ExpertNames {
    /// Each by itself: what precedes its number, and what follows.
    Each {
        /// Before the number.
        experts: &'static str,
        /// Of gate, up and down.
        names: [&'static str; 3],
    },
    /// Those of all experts in one tensor `[experts, out, in]`: of gate, up and down.
    Stacked([&'static str; 3]),
    /// The same with gate and up in one tensor, and no suffix after the names.
    StackedFused {
        /// `[experts, 2 * width, in]`
        gate_up: &'static str,
        /// `[experts, in, width]`
        down: &'static str,
    },
    /// gpt-oss's: gate and up in one tensor, a row of the one after a row of the other; transposed, or in two parts as MXFP4;
    /// biases under the same names.
    Interleaved {
        /// `[experts, in, 2 * width]`
        gate_up: &'static str,
        /// `[experts, width, in]`
        down: &'static str,
    },
}

/// One way to name a model's tensors.
#[derive(Debug, PartialEq, Eq)]
pub struct TensorNames {
    /// The embedding of tokens.
    pub embedding: &'static str,
    /// The embedding of positions, where there is one.
    pub positions: Option<&'static str>,
    /// The layers' own inputs: their table, projection and norm.
    pub layer_inputs: [&'static str; 3],
    /// Between the parts of a residual stream: from the first, and back.
    pub streams: [&'static str; 2],
    /// The norm after the last layer; the first that is there counts.
    pub final_norm: &'static [&'static str],
    /// The output projection; the first that is there counts.
    pub head: &'static [&'static str],
    /// What precedes a layer's number.
    pub layers: &'static str,
    /// The tensors of a layer; where one is listed twice, the first that is there counts.
    pub layer: &'static [(T, &'static str)],
    /// The tensors of a layer whose names have no suffix.
    pub bare: &'static [(T, &'static str)],
    /// The matrices of experts; the first that are there count.
    pub experts: &'static [ExpertNames],
    /// Of a delta net, in one matrix, for each key head: query, key, values, gates.
    pub grouped_qkvz: &'static str,
    /// The same: step sizes, decays.
    pub grouped_ba: &'static str,
    /// Of a state space, in one matrix: gate, input, step sizes.
    pub fused_space: &'static [&'static str],
    /// Compressed keys and values, and rotated keys, in one matrix.
    pub fused_key_down: &'static str,
    /// Of each head: keys, then values, of compressed ones, in one matrix.
    pub fused_kv_up: &'static str,
    /// Query, key and value in one matrix.
    pub fused_qkv: &'static str,
    /// Whether each head's query, key and value follow each other in it (GPT-NeoX).
    pub interleaved_qkv: bool,
    /// Gate and up in one matrix.
    pub fused_gate_up: Option<&'static str>,
    /// Those of the shared expert in one matrix.
    pub fused_shared: Option<&'static str>,
    /// Whether the matrices of layers are `[in, out]` (GPT-2).
    pub transposed: bool,
}

/// Every GGUF file's.
pub const GGUF: TensorNames = TensorNames {
    embedding: "token_embd",
    positions: Some("position_embd"),
    layer_inputs: [
        "per_layer_token_embd",
        "per_layer_model_proj",
        "per_layer_proj_norm",
    ],
    streams: ["altup_proj", "altup_unembd_proj"],
    // LFM2's files call it a norm of the embeddings.
    final_norm: &["output_norm", "token_embd_norm"],
    head: &["output"],
    layers: "blk",
    layer: &[
        (T::AttentionNorm, "attn_norm"),
        (T::Query, "attn_q"),
        (T::Key, "attn_k"),
        (T::Value, "attn_v"),
        (T::Output, "attn_output"),
        (T::QueryNorm, "attn_q_norm"),
        (T::KeyNorm, "attn_k_norm"),
        (T::PostAttentionNorm, "post_attention_norm"),
        (T::MlpNorm, "ffn_norm"),
        // Without a norm after attention, the name means the norm before the MLP.
        (T::MlpNorm, "post_attention_norm"),
        (T::Gate, "ffn_gate"),
        (T::Up, "ffn_up"),
        (T::Down, "ffn_down"),
        (T::PostMlpNorm, "post_ffw_norm"),
        (T::Router, "ffn_gate_inp"),
        (T::SharedExpertGate, "ffn_gate_inp_shexp"),
        (T::SharedGate, "ffn_gate_shexp"),
        (T::SharedUp, "ffn_up_shexp"),
        (T::SharedDown, "ffn_down_shexp"),
        (T::DeltaInput, "attn_qkv"),
        (T::DeltaGate, "attn_gate"),
        (T::QueryGate, "attn_gate"),
        (T::DeltaDecay, "ssm_alpha"),
        (T::DeltaStep, "ssm_beta"),
        (T::DeltaNorm, "ssm_norm"),
        (T::DeltaOutput, "ssm_out"),
        (T::SpaceNorm, "ssm_norm"),
        (T::SpaceOutput, "ssm_out"),
        (T::QueryDown, "attn_q_a"),
        (T::QueryDownNorm, "attn_q_a_norm"),
        (T::QueryUp, "attn_q_b"),
        (T::QueryUp, "attn_q"),
        (T::KeyDownNorm, "attn_kv_a_norm"),
        (T::ConvInput, "shortconv.in_proj"),
        (T::Conv, "shortconv.conv"),
        (T::Conv, "ssm_conv1d"),
        (T::ConvOutput, "shortconv.out_proj"),
        (T::ExpertsNorm, "pre_ffw_norm_2"),
        (T::PostDenseNorm, "post_ffw_norm_1"),
        (T::PostExpertsNorm, "post_ffw_norm_2"),
        (T::StreamRouterNorm, "altup_router_norm"),
        (T::StreamRouter, "altup_router"),
        (T::StreamPrediction, "altup_predict_coef"),
        (T::StreamCorrection, "altup_correct_coef"),
        (T::StreamScale, "altup_correct_scale"),
        (T::LaurelLeft, "laurel_l"),
        (T::LaurelRight, "laurel_r"),
        (T::LaurelNorm, "laurel_post_norm"),
        (T::InputGate, "inp_gate"),
        (T::InputProjection, "proj"),
        (T::InputNorm, "post_norm"),
    ],
    bare: &[
        // Falcon-H1's.
        (T::MlpNorm, "ffn_norm"),
        (T::SpaceSkip, "ssm_d"),
        (T::Decay, "ssm_a"),
        (T::DecayOffset, "ssm_dt.bias"),
        (T::RouterBias, "exp_probs_b.bias"),
        (T::Sinks, "attn_sinks.weight"),
        (T::RouterNorm, "ffn_gate_inp.scale"),
        (T::ExpertScales, "ffn_down_exps.scale"),
        (T::LayerScale, "layer_output_scale.weight"),
    ],
    experts: &[
        ExpertNames::Stacked(["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"]),
        ExpertNames::StackedFused {
            gate_up: "ffn_gate_up_exps.weight",
            down: "ffn_down_exps.weight",
        },
    ],
    grouped_qkvz: "ssm_in",
    grouped_ba: "ssm_ba",
    fused_space: &["ssm_in"],
    fused_key_down: "attn_kv_a_mqa",
    fused_kv_up: "attn_kv_b",
    fused_qkv: "attn_qkv",
    interleaved_qkv: false,
    // Phi-3's files call the fused matrix simply "up": its size tells.
    fused_gate_up: Some("ffn_up"),
    fused_shared: None,
    transposed: false,
};

/// Llama's, which most Hugging Face models share.
pub const LLAMA: TensorNames = TensorNames {
    embedding: "embed_tokens",
    positions: None,
    layer_inputs: [
        "embed_tokens_per_layer",
        "per_layer_model_projection",
        "per_layer_projection_norm",
    ],
    streams: ["altup_projections", "altup_unembed_projections"],
    final_norm: &["norm"],
    head: &["lm_head"],
    layers: "layers",
    layer: &[
        (T::AttentionNorm, "input_layernorm"),
        (T::Query, "self_attn.q_proj"),
        (T::Key, "self_attn.k_proj"),
        (T::Value, "self_attn.v_proj"),
        (T::Output, "self_attn.o_proj"),
        (T::QueryNorm, "self_attn.q_norm"),
        (T::QueryNorm, "self_attn.query_layernorm"),
        (T::KeyNorm, "self_attn.k_norm"),
        (T::KeyNorm, "self_attn.key_layernorm"),
        (T::QueryGate, "self_attn.gate_proj"),
        (T::PostAttentionNorm, "post_attention_layernorm"),
        (T::MlpNorm, "pre_feedforward_layernorm"),
        // Without norms after attention and MLP, the name means the norm before the MLP.
        (T::MlpNorm, "post_attention_layernorm"),
        (T::Gate, "mlp.gate_proj"),
        (T::Up, "mlp.up_proj"),
        (T::Up, "mlp.c_fc"),
        (T::Down, "mlp.down_proj"),
        (T::Down, "mlp.c_proj"),
        (T::PostMlpNorm, "post_feedforward_layernorm"),
        (T::Router, "mlp.gate"),
        (T::Router, "mlp.router"),
        (T::Router, "block_sparse_moe.gate"),
        (T::SharedExpertGate, "mlp.shared_expert_gate"),
        (T::SharedGate, "mlp.shared_expert.gate_proj"),
        (T::SharedUp, "mlp.shared_expert.up_proj"),
        (T::SharedDown, "mlp.shared_expert.down_proj"),
        (T::SharedGate, "mlp.shared_experts.gate_proj"),
        (T::SharedUp, "mlp.shared_experts.up_proj"),
        (T::SharedDown, "mlp.shared_experts.down_proj"),
        (T::DeltaInput, "linear_attn.in_proj_qkv"),
        (T::DeltaGate, "linear_attn.in_proj_z"),
        (T::DeltaDecay, "linear_attn.in_proj_a"),
        (T::DeltaStep, "linear_attn.in_proj_b"),
        (T::Conv, "linear_attn.conv1d"),
        (T::DeltaNorm, "linear_attn.norm"),
        (T::DeltaOutput, "linear_attn.out_proj"),
        (T::Router, "router.proj"),
        (T::Conv, "mamba.conv1d"),
        (T::SpaceNorm, "mamba.norm"),
        (T::SpaceOutput, "mamba.out_proj"),
        (T::QueryDown, "self_attn.q_a_proj"),
        (T::QueryDownNorm, "self_attn.q_a_layernorm"),
        (T::QueryUp, "self_attn.q_b_proj"),
        (T::QueryUp, "self_attn.q_proj"),
        (T::KeyDownNorm, "self_attn.kv_a_layernorm"),
        (T::ExpertsNorm, "pre_feedforward_layernorm_2"),
        (T::PostDenseNorm, "post_feedforward_layernorm_1"),
        (T::PostExpertsNorm, "post_feedforward_layernorm_2"),
        (T::StreamRouterNorm, "altup.router_norm"),
        (T::StreamRouter, "altup.modality_router"),
        (T::StreamPrediction, "altup.prediction_coefs"),
        (T::StreamCorrection, "altup.correction_coefs"),
        (T::LaurelLeft, "laurel.linear_left"),
        (T::LaurelRight, "laurel.linear_right"),
        (T::LaurelNorm, "laurel.post_laurel_norm"),
        (T::InputGate, "per_layer_input_gate"),
        (T::InputProjection, "per_layer_projection"),
        (T::InputNorm, "post_per_layer_input_norm"),
    ],
    bare: &[
        (T::StreamScale, "altup.correct_output_scale"),
        (T::RouterNorm, "router.scale"),
        (T::ExpertScales, "router.per_expert_scale"),
        (T::LayerScale, "layer_scalar"),
        (T::RouterBias, "mlp.gate.e_score_correction_bias"),
        (T::DecayLogarithm, "linear_attn.A_log"),
        (T::DecayOffset, "linear_attn.dt_bias"),
        (T::DecayLogarithm, "mamba.A_log"),
        (T::DecayOffset, "mamba.dt_bias"),
        (T::SpaceSkip, "mamba.D"),
    ],
    experts: &[
        ExpertNames::Each {
            experts: "mlp.experts",
            names: ["gate_proj", "up_proj", "down_proj"],
        },
        ExpertNames::Each {
            experts: "block_sparse_moe.experts",
            names: ["w1", "w3", "w2"],
        },
        ExpertNames::StackedFused {
            gate_up: "mlp.experts.gate_up_proj",
            down: "mlp.experts.down_proj",
        },
        ExpertNames::StackedFused {
            gate_up: "experts.gate_up_proj",
            down: "experts.down_proj",
        },
    ],
    grouped_qkvz: "linear_attn.in_proj_qkvz",
    grouped_ba: "linear_attn.in_proj_ba",
    fused_space: &["mamba.in_proj"],
    fused_key_down: "self_attn.kv_a_proj_with_mqa",
    fused_kv_up: "self_attn.kv_b_proj",
    fused_qkv: "self_attn.qkv_proj",
    interleaved_qkv: false,
    fused_gate_up: Some("mlp.gate_up_proj"),
    fused_shared: None,
    transposed: false,
};

/// LFM2's.
pub const LFM2: TensorNames = TensorNames {
    final_norm: &["embedding_norm"],
    layer: &[
        (T::AttentionNorm, "operator_norm"),
        (T::Query, "self_attn.q_proj"),
        (T::Key, "self_attn.k_proj"),
        (T::Value, "self_attn.v_proj"),
        (T::Output, "self_attn.out_proj"),
        (T::QueryNorm, "self_attn.q_layernorm"),
        (T::KeyNorm, "self_attn.k_layernorm"),
        (T::ConvInput, "conv.in_proj"),
        (T::Conv, "conv.conv"),
        (T::ConvOutput, "conv.out_proj"),
        (T::MlpNorm, "ffn_norm"),
        (T::Gate, "feed_forward.w1"),
        (T::Up, "feed_forward.w3"),
        (T::Down, "feed_forward.w2"),
        (T::Router, "feed_forward.gate"),
    ],
    bare: &[(T::RouterBias, "feed_forward.expert_bias")],
    experts: &[ExpertNames::Each {
        experts: "feed_forward.experts",
        names: ["w1", "w3", "w2"],
    }],
    ..LLAMA
};

/// Granite 4's.
pub const GRANITE_HYBRID: TensorNames = TensorNames {
    layer: &[
        (T::AttentionNorm, "input_layernorm"),
        (T::Query, "self_attn.q_proj"),
        (T::Key, "self_attn.k_proj"),
        (T::Value, "self_attn.v_proj"),
        (T::Output, "self_attn.o_proj"),
        (T::Conv, "mamba.conv1d"),
        (T::SpaceNorm, "mamba.norm"),
        (T::SpaceOutput, "mamba.out_proj"),
        (T::MlpNorm, "post_attention_layernorm"),
        (T::Down, "shared_mlp.output_linear"),
        (T::Router, "block_sparse_moe.router.layer"),
        (T::SharedDown, "shared_mlp.output_linear"),
    ],
    experts: &[ExpertNames::StackedFused {
        gate_up: "block_sparse_moe.input_linear.weight",
        down: "block_sparse_moe.output_linear.weight",
    }],
    fused_gate_up: Some("shared_mlp.input_linear"),
    fused_shared: Some("shared_mlp.input_linear"),
    ..LLAMA
};

/// Falcon-H1's.
pub const FALCON_H1: TensorNames = TensorNames {
    final_norm: &["final_layernorm"],
    layer: &[
        (T::AttentionNorm, "input_layernorm"),
        (T::Query, "self_attn.q_proj"),
        (T::Key, "self_attn.k_proj"),
        (T::Value, "self_attn.v_proj"),
        (T::Output, "self_attn.o_proj"),
        (T::Conv, "mamba.conv1d"),
        (T::SpaceNorm, "mamba.norm"),
        (T::SpaceOutput, "mamba.out_proj"),
        (T::MlpNorm, "pre_ff_layernorm"),
        (T::Gate, "feed_forward.gate_proj"),
        (T::Up, "feed_forward.up_proj"),
        (T::Down, "feed_forward.down_proj"),
    ],
    ..LLAMA
};

/// Nemotron-H's.
pub const NEMOTRON_H: TensorNames = TensorNames {
    embedding: "embeddings",
    final_norm: &["norm_f"],
    layer: &[
        (T::AttentionNorm, "norm"),
        (T::Query, "mixer.q_proj"),
        (T::Key, "mixer.k_proj"),
        (T::Value, "mixer.v_proj"),
        (T::Output, "mixer.o_proj"),
        (T::Conv, "mixer.conv1d"),
        (T::SpaceNorm, "mixer.norm"),
        (T::SpaceOutput, "mixer.out_proj"),
        (T::Up, "mixer.up_proj"),
        (T::Down, "mixer.down_proj"),
        (T::Router, "mixer.gate"),
        (T::SharedUp, "mixer.shared_experts.up_proj"),
        (T::SharedDown, "mixer.shared_experts.down_proj"),
    ],
    bare: &[
        (T::RouterBias, "mixer.gate.e_score_correction_bias"),
        (T::DecayLogarithm, "mixer.A_log"),
        (T::DecayOffset, "mixer.dt_bias"),
        (T::SpaceSkip, "mixer.D"),
    ],
    experts: &[ExpertNames::Each {
        experts: "mixer.experts",
        names: ["gate_proj", "up_proj", "down_proj"],
    }],
    fused_space: &["mixer.in_proj"],
    ..LLAMA
};

/// gpt-oss's.
pub const GPT_OSS: TensorNames = TensorNames {
    bare: &[(T::Sinks, "self_attn.sinks")],
    experts: &[ExpertNames::Interleaved {
        gate_up: "mlp.experts.gate_up_proj",
        down: "mlp.experts.down_proj",
    }],
    ..LLAMA
};

/// GPT-2's.
pub const GPT2: TensorNames = TensorNames {
    embedding: "wte",
    positions: Some("wpe"),
    final_norm: &["ln_f"],
    head: &["lm_head"],
    layers: "h",
    layer: &[
        (T::AttentionNorm, "ln_1"),
        (T::Query, "attn.q_proj"),
        (T::Key, "attn.k_proj"),
        (T::Value, "attn.v_proj"),
        (T::Output, "attn.c_proj"),
        (T::MlpNorm, "ln_2"),
        (T::Up, "mlp.c_fc"),
        (T::Down, "mlp.c_proj"),
    ],
    bare: &[],
    experts: &[],
    fused_qkv: "attn.c_attn",
    fused_gate_up: None,
    transposed: true,
    ..LLAMA
};

/// GPT-NeoX's.
pub const GPT_NEOX: TensorNames = TensorNames {
    embedding: "embed_in",
    positions: None,
    final_norm: &["final_layer_norm"],
    head: &["embed_out", "lm_head"],
    layers: "layers",
    layer: &[
        (T::AttentionNorm, "input_layernorm"),
        (T::Query, "attention.q_proj"),
        (T::Key, "attention.k_proj"),
        (T::Value, "attention.v_proj"),
        (T::Output, "attention.dense"),
        (T::MlpNorm, "post_attention_layernorm"),
        (T::Up, "mlp.dense_h_to_4h"),
        (T::Down, "mlp.dense_4h_to_h"),
    ],
    bare: &[],
    experts: &[],
    fused_qkv: "attention.query_key_value",
    interleaved_qkv: true,
    fused_gate_up: None,
    ..LLAMA
};

/// What precedes the names of all tensors but the head: nothing, or what a checkpoint's classes are called.
pub(super) const PREFIXES: [&str; 7] = [
    "",
    "model.",
    "transformer.",
    "gpt_neox.",
    "language_model.model.",
    "model.language_model.",
    "backbone.",
];
