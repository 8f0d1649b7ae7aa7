//! Families of one model.

use super::*;

/// Phi-3 and Phi-4.
pub(super) static PHI3: Preset = Preset {
    models: "Phi-3 and Phi-4",
    model_types: &["phi3"],
    gguf: "phi3",
    norm: NormKind::Rms(1e-5),
    gguf_pairing: Pairing::Halves,
    sliding: SlidingLayers::All,
    ..LLAMA
};

/// SmolLM3.
pub(super) static SMOLLM3: Preset = Preset {
    models: "SmolLM3",
    model_types: &["smollm3"],
    gguf: "smollm3",
    positions: Positions::RotaryButEvery(4),
    sliding: SlidingLayers::FromALayer,
    ..LLAMA
};

/// Seed-OSS.
pub(super) static SEED_OSS: Preset = Preset {
    models: "Seed-OSS",
    model_types: &["seed_oss"],
    gguf: "seed_oss",
    gguf_pairing: Pairing::Halves,
    ..LLAMA
};

/// StarCoder2.
pub(super) static STARCODER2: Preset = Preset {
    models: "StarCoder2",
    model_types: &["starcoder2"],
    gguf: "starcoder2",
    norm: NormKind::Layer(1e-5),
    mlp: DenseMlp::Plain,
    activation: Activation::GeluTanh,
    biases: Biases::All,
    gguf_pairing: Pairing::Halves,
    sliding: SlidingLayers::All,
    ..LLAMA
};

/// Hunyuan's dense models.
pub(super) static HUNYUAN_V1_DENSE: Preset = Preset {
    models: "Hunyuan's dense models",
    model_types: &["hunyuan_v1_dense"],
    gguf: "hunyuan-dense",
    norm: NormKind::Rms(1e-5),
    query_key_norm: QueryKeyNorm::PerRotatedHead,
    gguf_pairing: Pairing::Halves,
    ..LLAMA
};

/// EXAONE 4.
pub(super) static EXAONE4: Preset = Preset {
    models: "EXAONE 4",
    model_types: &["exaone4"],
    gguf: "exaone4",
    norm: NormKind::Rms(1e-5),
    norm_placement: NormPlacement::After,
    query_key_norm: QueryKeyNorm::PerHead,
    positions: Positions::RotaryIfSliding,
    gguf_pairing: Pairing::Halves,
    sliding: SlidingLayers::AllButEvery(4),
    ..LLAMA
};
