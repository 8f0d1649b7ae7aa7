//! DeepSeek's models, and one of Zhipu's that is built like them.

use super::*;

/// DeepSeek-V3 and DeepSeek-R1.
pub(super) static DEEPSEEK_V3: Preset = Preset {
    models: "DeepSeek-V3 and DeepSeek-R1",
    model_types: &["deepseek_v3"],
    gguf: "deepseek2",
    ..LATENT_FAMILY
};

/// DeepSeek-V2, and Coder-V2.
pub(super) static DEEPSEEK_V2: Preset = Preset {
    models: "DeepSeek-V2, and Coder-V2",
    model_types: &["deepseek_v2"],
    experts: Some(ExpertsPreset {
        normalized: false,
        states_scale: true,
        counted_of_group: 1,
        shared: SharedExpert::Times,
        ..SOFTMAX_ROUTER
    }),
    ..LATENT_FAMILY
};

/// GLM-4.7-Flash.
pub(super) static GLM4_MOE_LITE: Preset = Preset {
    models: "GLM-4.7-Flash",
    model_types: &["glm4_moe_lite"],
    // GGUF files say "deepseek2".
    norm: NormKind::Rms(1e-5),
    ..LATENT_FAMILY
};

/// What they share.
const LATENT_FAMILY: Preset = Preset {
    gguf: "deepseek2",
    latent: true,
    pairing: Pairing::Interleaved,
    experts: Some(GROUPED_ROUTER),
    ..LLAMA
};
