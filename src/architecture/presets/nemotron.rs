//! NVIDIA's models.

use super::*;

/// Nemotron-H, and Nemotron 3.
pub(super) static NEMOTRON_H: Preset = Preset {
    models: "Nemotron-H, and Nemotron 3",
    model_types: &["nemotron_h"],
    gguf: "nemotron_h",
    ..NEMOTRON_FAMILY
};

/// The same, as GGUF files with experts name it.
pub(super) static NEMOTRON_H_MOE: Preset = Preset {
    models: "Nemotron-H, and Nemotron 3",
    model_types: &[],
    gguf: "nemotron_h_moe",
    ..NEMOTRON_FAMILY
};

/// What Nemotron's kinds share.
const NEMOTRON_FAMILY: Preset = Preset {
    tensors: &names::NEMOTRON_H,
    norm: NormKind::Rms(1e-5),
    mlp: DenseMlp::Plain,
    activation: Activation::ReluSquared,
    positions: Positions::Unstated,
    half_layers: true,
    recurrent: Some(RecurrentKind::StateSpace(StateSpacePreset {
        finish: GateOrder::GateFirst,
        norm_by_group: true,
        beside_attention: false,
    })),
    may_lack_experts: true,
    experts: Some(ExpertsPreset {
        shared: SharedExpert::Ungated,
        gated: false,
        ..GROUPED_ROUTER
    }),
    ..LLAMA
};
