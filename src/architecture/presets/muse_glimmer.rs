//! Muse Glimmer.

use super::*;

/// Muse Glimmer.
pub(super) static MUSE_GLIMMER: Preset = Preset {
    models: "Muse Glimmer",
    // A multimodal file says "muse_glimmer" where the decoder's part has no type of its own.
    model_types: &["muse_glimmer_text", "muse_glimmer"],
    gguf: "muse-glimmer",
    norm: NormKind::Rms(1e-5),
    after_epsilon: Some(1e-8),
    norm_placement: NormPlacement::BeforeAndAfter,
    norms_less_one: LessOne::Layers,
    query_key_norm: QueryKeyNorm::Unweighted { query: 3.87 },
    positions: Positions::RotaryIfSliding,
    sliding: SlidingLayers::AllButEvery(4),
    attention_gate: AttentionGate::Own,
    embedding_norm: true,
    logit_scale: LogitScale::Factor,
    ..LLAMA
};
