//! TII's models.

use super::*;

/// Falcon-H1.
pub(super) static FALCON_H1: Preset = Preset {
    models: "Falcon-H1",
    model_types: &["falcon_h1"],
    gguf: "falcon-h1",
    tensors: &names::FALCON_H1,
    norm: NormKind::Rms(1e-5),
    recurrent: Some(RecurrentKind::StateSpace(StateSpacePreset {
        finish: GateOrder::NoNorm,
        norm_by_group: true,
        beside_attention: true,
    })),
    gguf_pairing: Pairing::Halves,
    embedding_scale: EmbeddingScale::Stated,
    logit_scale: LogitScale::Folded,
    ..LLAMA
};
