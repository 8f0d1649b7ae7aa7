//! Mistral's models.

use super::*;

/// Mistral.
pub(super) static MISTRAL: Preset = Preset {
    models: "Mistral",
    model_types: &["mistral"],
    // GGUF files of Mistral models say "llama".
    gguf: "mistral",
    sliding: SlidingLayers::All,
    defaults: Defaults {
        kv_heads: Some(8),
        context_length: Some(131_072),
        window: Some(4096),
        ..Defaults::NONE
    },
    ..LLAMA
};

/// Mixtral.
pub(super) static MIXTRAL: Preset = Preset {
    models: "Mixtral",
    model_types: &["mixtral"],
    // GGUF files say "llama", and how many experts there are.
    gguf: "llama",
    norm: NormKind::Rms(1e-5),
    experts: Some(ExpertsPreset {
        states_normalized: false,
        ..SOFTMAX_ROUTER
    }),
    sliding: SlidingLayers::All,
    defaults: Defaults {
        kv_heads: Some(8),
        context_length: Some(131_072),
        rotary: RotaryDefaults {
            theta: 1e6,
            fraction: 1.0,
        },
        experts: ExpertDefaults {
            count: Some(8),
            chosen: Some(2),
            ..ExpertDefaults::NONE
        },
        ..Defaults::NONE
    },
    ..LLAMA
};

/// Ministral 3, and Mistral Small 3.1.
pub(super) static MISTRAL3: Preset = Preset {
    models: "Ministral 3, and Mistral Small 3.1",
    // A multimodal file says "mistral3" where the decoder's part has no type of its own.
    model_types: &["ministral3", "mistral3"],
    gguf: "mistral3",
    norm: NormKind::Rms(1e-5),
    sliding: SlidingLayers::All,
    defaults: Defaults {
        kv_heads: Some(8),
        head_dim: Some(128),
        context_length: Some(262_144),
        ..Defaults::NONE
    },
    ..LLAMA
};
