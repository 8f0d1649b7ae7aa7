//! Gemma's models.

use super::*;

/// Gemma 2.
pub(super) static GEMMA2: Preset = Preset {
    models: "Gemma 2",
    model_types: &["gemma2"],
    gguf: "gemma2",
    sliding: SlidingLayers::EveryOther,
    window: Some(4096),
    attention_scale: AttentionScale::QueryScalar { largest: 46 },
    attention_softcap: Some(50.0),
    logit_softcap: Some(30.0),
    ..GEMMA
};

/// Gemma 3.
pub(super) static GEMMA3: Preset = Preset {
    models: "Gemma 3",
    // A multimodal file says "gemma3" where the decoder's part has no type of its own.
    model_types: &["gemma3_text", "gemma3"],
    gguf: "gemma3",
    query_key_norm: QueryKeyNorm::PerHead,
    positions: Positions::RotaryBySliding,
    sliding: SlidingLayers::AllButEvery(6),
    attention_scale: AttentionScale::QueryScalar { largest: 62 },
    ..GEMMA
};

/// What Gemma 2 and Gemma 3 share.
const GEMMA: Preset = Preset {
    norm_placement: NormPlacement::BeforeAndAfter,
    norms_less_one: LessOne::All,
    activation: Activation::GeluTanh,
    gguf_pairing: Pairing::Halves,
    embedding_scale: EmbeddingScale::RootOfHidden,
    ..LLAMA
};

/// Gemma 4.
pub(super) static GEMMA4: Preset = Preset {
    models: "Gemma 4",
    // A multimodal file says "gemma4" where the decoder's part has no type of its own.
    model_types: &["gemma4_text", "gemma4"],
    gguf: "gemma4",
    norms_less_one: LessOne::None,
    query_key_norm: QueryKeyNorm::PerHead,
    value_norm: true,
    positions: Positions::RotaryBySliding,
    sliding: SlidingLayers::AllButEvery(6),
    attention_scale: AttentionScale::One,
    heads_by_sliding: true,
    may_share_keys: true,
    may_have_layer_inputs: true,
    layer_scales: true,
    may_lack_experts: true,
    experts: Some(ExpertsPreset {
        states_normalized: false,
        beside_dense: true,
        ..SOFTMAX_ROUTER
    }),
    ..GEMMA
};

/// Gemma 3n.
pub(super) static GEMMA3N: Preset = Preset {
    models: "Gemma 3n",
    // A multimodal file says "gemma3n" where the decoder's part has no type of its own.
    model_types: &["gemma3n_text", "gemma3n"],
    gguf: "gemma3n",
    norms_less_one: LessOne::None,
    query_key_norm: QueryKeyNorm::PerHead,
    value_norm: true,
    positions: Positions::RotaryBySliding,
    sliding: SlidingLayers::AllButEvery(5),
    attention_scale: AttentionScale::One,
    may_share_keys: true,
    may_have_layer_inputs: true,
    streams: true,
    ..GEMMA
};
