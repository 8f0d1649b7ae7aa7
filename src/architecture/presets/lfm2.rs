//! Liquid's models.

use super::*;

/// LFM2.
pub(super) static LFM2: Preset = Preset {
    models: "LFM2",
    model_types: &["lfm2"],
    gguf: "lfm2",
    adjusted_width: true,
    ..LFM2_FAMILY
};

/// LFM2 with experts.
pub(super) static LFM2_MOE: Preset = Preset {
    models: "LFM2 with experts",
    model_types: &["lfm2_moe"],
    gguf: "lfm2moe",
    experts: Some(ExpertsPreset {
        scores: Scores::Sigmoid,
        states_scale: true,
        epsilon: 1e-6,
        biased: true,
        ..SOFTMAX_ROUTER
    }),
    ..LFM2_FAMILY
};

/// What LFM2's kinds share.
const LFM2_FAMILY: Preset = Preset {
    tensors: &names::LFM2,
    norm: NormKind::Rms(1e-5),
    query_key_norm: QueryKeyNorm::PerHead,
    recurrent: Some(RecurrentKind::ShortConv),
    gguf_pairing: Pairing::Halves,
    ..LLAMA
};
