//! OLMo's models.

use super::*;

/// OLMo 2.
pub(super) const OLMO2: Preset = Preset {
    models: "OLMo 2",
    model_types: &["olmo2"],
    gguf: "olmo2",
    norm: NormKind::Rms(1e-5),
    norm_placement: NormPlacement::After,
    query_key_norm: QueryKeyNorm::Whole,
    positions: Positions::RotaryStretchedUnlessSliding,
    gguf_pairing: Pairing::Halves,
    sliding: SlidingLayers::AllButEvery(4),
    ..LLAMA
};

/// OLMoE.
pub(super) static OLMOE: Preset = Preset {
    models: "OLMoE",
    model_types: &["olmoe"],
    gguf: "olmoe",
    norm: NormKind::Rms(1e-5),
    query_key_norm: QueryKeyNorm::Whole,
    gguf_pairing: Pairing::Halves,
    experts: Some(ExpertsPreset {
        normalized: false,
        ..SOFTMAX_ROUTER
    }),
    ..LLAMA
};

/// OLMo 3.
pub(super) static OLMO3: Preset = Preset {
    models: "OLMo 3",
    model_types: &["olmo3"],
    // GGUF files say "olmo2", and which layers have a window.
    ..OLMO2
};
