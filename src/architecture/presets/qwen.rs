//! Qwen's models.

use super::*;

/// Qwen2 and Qwen2.5.
pub(super) static QWEN2: Preset = Preset {
    models: "Qwen2 and Qwen2.5",
    model_types: &["qwen2"],
    gguf: "qwen2",
    biases: Biases::Qkv,
    gguf_pairing: Pairing::Halves,
    sliding: SlidingLayers::FromALayer,
    defaults: Defaults {
        context_length: Some(32_768),
        ..Defaults::NONE
    },
    ..LLAMA
};

/// Qwen3.
pub(super) static QWEN3: Preset = Preset {
    models: "Qwen3",
    model_types: &["qwen3"],
    gguf: "qwen3",
    query_key_norm: QueryKeyNorm::PerHead,
    gguf_pairing: Pairing::Halves,
    sliding: SlidingLayers::FromALayer,
    defaults: Defaults {
        head_dim: Some(128),
        context_length: Some(32_768),
        ..Defaults::NONE
    },
    ..LLAMA
};

/// Qwen1.5 and Qwen2 with experts.
pub(super) static QWEN2_MOE: Preset = Preset {
    models: "Qwen1.5 and Qwen2 with experts",
    model_types: &["qwen2_moe"],
    gguf: "qwen2moe",
    biases: Biases::Qkv,
    gguf_pairing: Pairing::Halves,
    experts: Some(ExpertsPreset {
        normalized: false,
        shared: SharedExpert::Gated,
        ..SOFTMAX_ROUTER
    }),
    defaults: Defaults {
        context_length: Some(32_768),
        experts: ExpertDefaults {
            count: Some(60),
            chosen: Some(4),
            width: Some(1408),
            shared: Some(5632),
            normalized: None,
        },
        ..Defaults::NONE
    },
    ..LLAMA
};

/// Qwen3 with experts.
pub(super) static QWEN3_MOE: Preset = Preset {
    models: "Qwen3 with experts",
    model_types: &["qwen3_moe"],
    gguf: "qwen3moe",
    query_key_norm: QueryKeyNorm::PerHead,
    gguf_pairing: Pairing::Halves,
    experts: Some(SOFTMAX_ROUTER),
    defaults: Defaults {
        context_length: Some(32_768),
        experts: ExpertDefaults {
            count: Some(128),
            chosen: Some(8),
            width: Some(768),
            shared: None,
            normalized: Some(false),
        },
        ..Defaults::NONE
    },
    ..LLAMA
};

/// Qwen3.5.
pub(super) static QWEN3_5: Preset = Preset {
    models: "Qwen3.5",
    // A multimodal file says "qwen3_5" where the decoder's part has no type of its own.
    model_types: &["qwen3_5_text", "qwen3_5"],
    gguf: "qwen35",
    ..QWEN3_5_FAMILY
};

/// Qwen3.5 with experts.
pub(super) static QWEN3_5_MOE: Preset = Preset {
    models: "Qwen3.5 with experts",
    model_types: &["qwen3_5_moe_text", "qwen3_5_moe"],
    gguf: "qwen35moe",
    experts: Some(ExpertsPreset {
        states_normalized: false,
        shared: SharedExpert::Gated,
        ..SOFTMAX_ROUTER
    }),
    ..QWEN3_5_FAMILY
};

/// What Qwen3.5's kinds share.
const QWEN3_5_FAMILY: Preset = Preset {
    norms_less_one: LessOne::All,
    query_key_norm: QueryKeyNorm::PerHead,
    recurrent: Some(RecurrentKind::DeltaNet { is_reordered: true }),
    attention_gate: AttentionGate::BesideQuery,
    gguf_pairing: Pairing::Halves,
    defaults: Defaults {
        head_dim: Some(256),
        context_length: Some(32_768),
        rotary: RotaryDefaults {
            theta: 10_000.0,
            fraction: 0.25,
        },
        ..Defaults::NONE
    },
    ..LLAMA
};

/// Qwen3-Next.
pub(super) static QWEN3_NEXT: Preset = Preset {
    models: "Qwen3-Next",
    model_types: &["qwen3_next"],
    gguf: "qwen3next",
    recurrent: Some(RecurrentKind::DeltaNet {
        is_reordered: false,
    }),
    experts: Some(ExpertsPreset {
        shared: SharedExpert::Gated,
        ..SOFTMAX_ROUTER
    }),
    defaults: Defaults {
        kv_heads: Some(2),
        experts: ExpertDefaults {
            count: Some(512),
            chosen: Some(10),
            width: Some(512),
            shared: Some(512),
            normalized: None,
        },
        ..QWEN3_5_FAMILY.defaults
    },
    ..QWEN3_5_FAMILY
};
