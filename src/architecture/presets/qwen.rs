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
    ..QWEN3_5_FAMILY
};
