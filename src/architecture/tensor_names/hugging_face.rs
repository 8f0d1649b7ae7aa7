//! How Hugging Face's checkpoints name tensors.

use super::{ExpertNames, LayerTensor as T, TensorNames};

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
        (T::PredictionInput, "eh_proj"),
        (T::PredictionEmbeddingNorm, "enorm"),
        (T::PredictionStateNorm, "hnorm"),
        (T::PredictionNorm, "shared_head.norm"),
        (T::PredictionEmbedding, "embed_tokens"),
        (T::PredictionHead, "shared_head.head"),
        // Qwen's.
        (T::PredictionInput, "fc"),
        (T::PredictionEmbeddingNorm, "pre_fc_norm_embedding"),
        (T::PredictionStateNorm, "pre_fc_norm_hidden"),
        (T::PredictionNorm, "norm"),
        (T::PredictionHead, "lm_head"),
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
