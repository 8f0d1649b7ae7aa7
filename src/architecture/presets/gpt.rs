//! OpenAI's models, and GPT-NeoX.

use super::*;

/// GPT-2.
pub(super) static GPT2: Preset = Preset {
    models: "GPT-2",
    model_types: &["gpt2"],
    gguf: "gpt2",
    tensors: &names::GPT2,
    norm: NormKind::Layer(1e-5),
    mlp: DenseMlp::Plain,
    mlp_ratio: Some(4),
    activation: Activation::GeluTanh,
    biases: Biases::All,
    positions: Positions::Learned,
    gguf_pairing: Pairing::Halves,
    ..LLAMA
};

/// GPT-NeoX and Pythia.
pub(super) static GPT_NEOX: Preset = Preset {
    models: "GPT-NeoX and Pythia",
    model_types: &["gpt_neox"],
    gguf: "gptneox",
    tensors: &names::GPT_NEOX,
    norm: NormKind::Layer(1e-5),
    residual: Residual::Parallel,
    mlp: DenseMlp::Plain,
    activation: Activation::Gelu,
    biases: Biases::All,
    gguf_pairing: Pairing::Halves,
    ..LLAMA
};

/// gpt-oss.
pub(super) static GPT_OSS: Preset = Preset {
    models: "gpt-oss",
    model_types: &["gpt_oss"],
    gguf: "gpt-oss",
    tensors: &names::GPT_OSS,
    norm: NormKind::Rms(1e-5),
    biases: Biases::All,
    attention_sinks: true,
    rounded_yarn: false,
    gguf_pairing: Pairing::Halves,
    sliding: SlidingLayers::EveryOther,
    experts: Some(ExpertsPreset {
        states_normalized: false,
        gating: Some(Gating::Clamped {
            limit: 7.0,
            alpha: 1.702,
        }),
        ..SOFTMAX_ROUTER
    }),
    ..LLAMA
};
