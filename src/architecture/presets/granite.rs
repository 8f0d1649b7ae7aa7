//! IBM's models.

use super::*;

/// Granite.
pub(super) static GRANITE: Preset = Preset {
    models: "Granite",
    model_types: &["granite"],
    gguf: "granite",
    ..GRANITE_FAMILY
};

/// What Granite's kinds share.
const GRANITE_FAMILY: Preset = Preset {
    attention_scale: AttentionScale::Stated,
    embedding_scale: EmbeddingScale::Stated,
    logit_scale: LogitScale::Divisor,
    has_residual_scale: true,
    ..LLAMA
};

/// Granite 4.
pub(super) static GRANITE_MOE_HYBRID: Preset = Preset {
    models: "Granite 4",
    model_types: &["granitemoehybrid"],
    gguf: "granitehybrid",
    tensors: &names::GRANITE_HYBRID,
    positions: Positions::RotaryIfStated,
    recurrent: Some(RecurrentKind::StateSpace(StateSpacePreset {
        finish: GateOrder::GateFirst,
        norm_by_group: false,
        beside_attention: false,
    })),
    may_lack_experts: true,
    experts: Some(ExpertsPreset {
        states_normalized: false,
        shared: SharedExpert::Ungated,
        ..SOFTMAX_ROUTER
    }),
    ..GRANITE_FAMILY
};
