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
        normalized: true,
        states_normalized: true,
        states_scale: true,
        epsilon: 1e-6,
        gating: None,
        counted_of_group: 2,
        biased: true,
        shared: SharedExpert::None,
        gated: true,
        beside_dense: false,
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
