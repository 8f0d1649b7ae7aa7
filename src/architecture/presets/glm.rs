//! Zhipu's models.

use super::*;

/// GLM-4.5 and GLM-4.6.
pub(super) static GLM4_MOE: Preset = Preset {
    models: "GLM-4.5 and GLM-4.6",
    model_types: &["glm4_moe"],
    gguf: "glm4moe",
    norm: NormKind::Rms(1e-5),
    query_key_norm: QueryKeyNorm::PerHead,
    may_lack_query_key_norm: true,
    gguf_pairing: Pairing::Halves,
    experts: Some(GROUPED_ROUTER),
    defaults: Defaults {
        kv_heads: Some(8),
        context_length: Some(131_072),
        rotary: RotaryDefaults {
            theta: 10_000.0,
            fraction: 0.5,
        },
        experts: ExpertDefaults {
            count: Some(128),
            chosen: Some(8),
            width: Some(1408),
            shared: Some(1),
            normalized: None,
        },
        ..Defaults::NONE
    },
    ..LLAMA
};
