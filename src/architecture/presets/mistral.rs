//! Mistral's models.

use super::*;

/// Mistral.
pub(super) static MISTRAL: Preset = Preset {
    models: "Mistral, and Mistral Small 3.1",
    // A multimodal file says "mistral3" where the decoder's part has no type of its own.
    model_types: &["mistral", "mistral3"],
    // GGUF files don't tell it from Llama.
    gguf: "llama",
    sliding: SlidingLayers::All,
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
    ..LLAMA
};

/// Ministral 3.
pub(super) static MISTRAL3: Preset = Preset {
    models: "Ministral 3",
    model_types: &["ministral3"],
    gguf: "mistral3",
    norm: NormKind::Rms(1e-5),
    sliding: SlidingLayers::All,
    ..LLAMA
};
