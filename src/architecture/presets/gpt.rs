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
    activation: Activation::GeluTanh,
    biases: Biases::All,
    positions: Positions::Learned,
    gguf_pairing: Pairing::Halves,
    defaults: Defaults {
        intermediate_size: Some(Width::TimesHidden(4)),
        context_length: Some(1024),
        tied_head: Some(true),
        ..Defaults::NONE
    },
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
    defaults: Defaults {
        intermediate_size: Some(Width::TimesHidden(4)),
        context_length: Some(2048),
        rotary: RotaryDefaults {
            theta: 10_000.0,
            fraction: 0.25,
        },
        ..Defaults::NONE
    },
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
    defaults: Defaults {
        head_dim: Some(64),
        kv_heads: Some(8),
        context_length: Some(131_072),
        window: Some(128),
        rotary: RotaryDefaults {
            theta: 150_000.0,
            fraction: 1.0,
        },
        experts: ExpertDefaults {
            count: Some(128),
            chosen: Some(4),
            ..ExpertDefaults::NONE
        },
        ..Defaults::NONE
    },
    ..LLAMA
};
