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
    ..LLAMA
};
