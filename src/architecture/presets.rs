//! The families of models that this crate runs, a row each. A row says what sets it apart from Llama.

use super::preset::{
    AttentionScale, Defaults, ExpertDefaults, ExpertsPreset, Positions, Preset, RecurrentKind,
    RotaryDefaults, SlidingLayers, Width,
};
use super::tensor_names::{GPT_NEOX, GPT_OSS, GPT2, LFM2, LLAMA as LLAMA_TENSORS};
use super::variants::{Biases, MlpSpec, NormPlacement, QueryKeyNorm, Residual, Scores};
use crate::backend::{Activation, Gating, NormKind, Pairing};

/// Every family.
static PRESETS: [Preset; 20] = [
    Preset {
        model_types: &["gpt2"],
        gguf: "gpt2",
        tensors: &GPT2,
        norm: NormKind::Layer(1e-5),
        mlp: MlpSpec::Plain,
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
    },
    LLAMA,
    Preset {
        model_types: &["mistral"],
        // GGUF files of Mistral models say "llama".
        gguf: "mistral",
        sliding: SlidingLayers::All,
        defaults: Defaults {
            kv_heads: Some(8),
            context_length: Some(131_072),
            window: Some(4096),
            ..Defaults::NONE
        },
        ..LLAMA
    },
    Preset {
        model_types: &["qwen2"],
        gguf: "qwen2",
        biases: Biases::Qkv,
        gguf_pairing: Pairing::Halves,
        sliding: SlidingLayers::FromALayer,
        defaults: Defaults {
            context_length: Some(32_768),
            ..Defaults::NONE
        },
        ..LLAMA
    },
    Preset {
        model_types: &["qwen3"],
        gguf: "qwen3",
        query_key_norm: QueryKeyNorm::PerHead,
        gguf_pairing: Pairing::Halves,
        sliding: SlidingLayers::FromALayer,
        defaults: Defaults {
            head_dim: Some(128),
            context_length: Some(32_768),
            ..Defaults::NONE
        },
        ..LLAMA
    },
    Preset {
        model_types: &["gemma2"],
        gguf: "gemma2",
        sliding: SlidingLayers::EveryOther,
        window: Some(4096),
        attention_scale: AttentionScale::QueryScalar { largest: 46 },
        attention_softcap: Some(50.0),
        logit_softcap: Some(30.0),
        defaults: Defaults {
            vocab_size: Some(256_000),
            context_length: Some(8192),
            ..GEMMA.defaults
        },
        ..GEMMA
    },
    Preset {
        // A multimodal file says "gemma3" where the decoder's part has no type of its own.
        model_types: &["gemma3_text", "gemma3"],
        gguf: "gemma3",
        query_key_norm: QueryKeyNorm::PerHead,
        positions: Positions::RotaryBySliding,
        sliding: SlidingLayers::AllButEvery(6),
        attention_scale: AttentionScale::QueryScalar { largest: 62 },
        defaults: Defaults {
            vocab_size: Some(262_208),
            context_length: Some(131_072),
            window: Some(4096),
            rotary: RotaryDefaults {
                theta: 1e6,
                fraction: 1.0,
            },
            ..GEMMA.defaults
        },
        ..GEMMA
    },
    Preset {
        model_types: &["phi3"],
        gguf: "phi3",
        norm: NormKind::Rms(1e-5),
        gguf_pairing: Pairing::Halves,
        sliding: SlidingLayers::All,
        defaults: Defaults {
            context_length: Some(4096),
            ..Defaults::NONE
        },
        ..LLAMA
    },
    Preset {
        model_types: &["gpt_neox"],
        gguf: "gptneox",
        tensors: &GPT_NEOX,
        norm: NormKind::Layer(1e-5),
        residual: Residual::Parallel,
        mlp: MlpSpec::Plain,
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
    },
    Preset {
        model_types: &["olmo2"],
        gguf: "olmo2",
        norm: NormKind::Rms(1e-5),
        norm_placement: NormPlacement::After,
        query_key_norm: QueryKeyNorm::Whole,
        gguf_pairing: Pairing::Halves,
        ..LLAMA
    },
    Preset {
        model_types: &["smollm3"],
        gguf: "smollm3",
        positions: Positions::RotaryButEvery(4),
        sliding: SlidingLayers::FromALayer,
        defaults: Defaults {
            context_length: Some(32_768),
            rotary: RotaryDefaults {
                theta: 2e6,
                fraction: 1.0,
            },
            tied_head: Some(true),
            ..Defaults::NONE
        },
        ..LLAMA
    },
    Preset {
        model_types: &["mixtral"],
        // GGUF files say "llama", and how many experts there are.
        gguf: "llama",
        norm: NormKind::Rms(1e-5),
        experts: Some(ExpertsPreset {
            states_normalized: false,
            ..SOFTMAX_ROUTER
        }),
        sliding: SlidingLayers::All,
        defaults: Defaults {
            kv_heads: Some(8),
            context_length: Some(131_072),
            rotary: RotaryDefaults {
                theta: 1e6,
                fraction: 1.0,
            },
            experts: ExpertDefaults {
                count: Some(8),
                chosen: Some(2),
                ..ExpertDefaults::NONE
            },
            ..Defaults::NONE
        },
        ..LLAMA
    },
    Preset {
        model_types: &["qwen2_moe"],
        gguf: "qwen2moe",
        biases: Biases::Qkv,
        gguf_pairing: Pairing::Halves,
        experts: Some(ExpertsPreset {
            normalized: false,
            shared: true,
            ..SOFTMAX_ROUTER
        }),
        defaults: Defaults {
            context_length: Some(32_768),
            experts: ExpertDefaults {
                count: Some(60),
                chosen: Some(4),
                width: Some(1408),
                shared: Some(5632),
                normalized: None,
            },
            ..Defaults::NONE
        },
        ..LLAMA
    },
    Preset {
        model_types: &["qwen3_moe"],
        gguf: "qwen3moe",
        query_key_norm: QueryKeyNorm::PerHead,
        gguf_pairing: Pairing::Halves,
        experts: Some(SOFTMAX_ROUTER),
        defaults: Defaults {
            context_length: Some(32_768),
            experts: ExpertDefaults {
                count: Some(128),
                chosen: Some(8),
                width: Some(768),
                shared: None,
                normalized: Some(false),
            },
            ..Defaults::NONE
        },
        ..LLAMA
    },
    Preset {
        model_types: &["olmoe"],
        gguf: "olmoe",
        norm: NormKind::Rms(1e-5),
        query_key_norm: QueryKeyNorm::Whole,
        gguf_pairing: Pairing::Halves,
        experts: Some(ExpertsPreset {
            normalized: false,
            ..SOFTMAX_ROUTER
        }),
        defaults: Defaults {
            context_length: Some(4096),
            experts: ExpertDefaults {
                count: Some(64),
                chosen: Some(8),
                ..ExpertDefaults::NONE
            },
            ..Defaults::NONE
        },
        ..LLAMA
    },
    Preset {
        model_types: &["lfm2"],
        gguf: "lfm2",
        adjusted_width: true,
        ..LFM2_FAMILY
    },
    Preset {
        model_types: &["lfm2_moe"],
        gguf: "lfm2moe",
        experts: Some(ExpertsPreset {
            scores: Scores::Sigmoid,
            normalized: true,
            states_normalized: true,
            states_scale: true,
            epsilon: 1e-6,
            gating: None,
            biased: true,
            shared: false,
        }),
        defaults: Defaults {
            experts: ExpertDefaults {
                count: Some(32),
                chosen: Some(4),
                width: Some(1792),
                ..ExpertDefaults::NONE
            },
            ..LFM2_FAMILY.defaults
        },
        ..LFM2_FAMILY
    },
    Preset {
        model_types: &["gpt_oss"],
        gguf: "gpt-oss",
        tensors: &GPT_OSS,
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
    },
    Preset {
        // A multimodal file says "qwen3_5" where the decoder's part has no type of its own.
        model_types: &["qwen3_5_text", "qwen3_5"],
        gguf: "qwen35",
        ..QWEN3_5_FAMILY
    },
    Preset {
        model_types: &["qwen3_5_moe_text", "qwen3_5_moe"],
        gguf: "qwen35moe",
        experts: Some(ExpertsPreset {
            states_normalized: false,
            shared: true,
            ..SOFTMAX_ROUTER
        }),
        ..QWEN3_5_FAMILY
    },
];

/// What Qwen3.5's kinds share.
const QWEN3_5_FAMILY: Preset = Preset {
    norms_less_one: true,
    query_key_norm: QueryKeyNorm::PerHead,
    recurrent: Some(RecurrentKind::DeltaNet),
    attention_gate: true,
    gguf_pairing: Pairing::Halves,
    defaults: Defaults {
        head_dim: Some(256),
        context_length: Some(32_768),
        rotary: RotaryDefaults {
            theta: 10_000.0,
            fraction: 0.25,
        },
        ..Defaults::NONE
    },
    ..LLAMA
};

/// What LFM2's kinds share.
const LFM2_FAMILY: Preset = Preset {
    tensors: &LFM2,
    norm: NormKind::Rms(1e-5),
    query_key_norm: QueryKeyNorm::PerHead,
    recurrent: Some(RecurrentKind::ShortConv),
    gguf_pairing: Pairing::Halves,
    defaults: Defaults {
        context_length: Some(128_000),
        rotary: RotaryDefaults {
            theta: 1e6,
            fraction: 1.0,
        },
        tied_head: Some(true),
        ..Defaults::NONE
    },
    ..LLAMA
};

/// A row of its own, and what the others are written against.
const LLAMA: Preset = Preset {
    model_types: &["llama"],
    gguf: "llama",
    tensors: &LLAMA_TENSORS,
    norm: NormKind::Rms(1e-6),
    norm_placement: NormPlacement::Before,
    norms_less_one: false,
    query_key_norm: QueryKeyNorm::None,
    residual: Residual::Sequential,
    mlp: MlpSpec::Gated,
    experts: None,
    activation: Activation::Silu,
    biases: Biases::AsStored,
    positions: Positions::Rotary,
    recurrent: None,
    adjusted_width: false,
    gguf_pairing: Pairing::Interleaved,
    sliding: SlidingLayers::None,
    window: None,
    attention_scale: AttentionScale::HeadDim,
    attention_gate: false,
    attention_sinks: false,
    rounded_yarn: true,
    attention_softcap: None,
    logit_softcap: None,
    scaled_embedding: false,
    defaults: Defaults {
        context_length: Some(2048),
        ..Defaults::NONE
    },
};

/// Qwen's router, and what others are written against.
const SOFTMAX_ROUTER: ExpertsPreset = ExpertsPreset {
    scores: Scores::Softmax,
    normalized: true,
    states_normalized: true,
    states_scale: false,
    epsilon: 0.0,
    gating: None,
    biased: false,
    shared: false,
};

/// What Gemma 2 and Gemma 3 share.
const GEMMA: Preset = Preset {
    norm_placement: NormPlacement::BeforeAndAfter,
    norms_less_one: true,
    activation: Activation::GeluTanh,
    gguf_pairing: Pairing::Halves,
    scaled_embedding: true,
    defaults: Defaults {
        hidden_size: Some(2304),
        intermediate_size: Some(Width::Of(9216)),
        layers: Some(26),
        heads: Some(8),
        kv_heads: Some(4),
        head_dim: Some(256),
        tied_head: Some(true),
        ..Defaults::NONE
    },
    ..LLAMA
};

/// Families by the names that files give them.
impl Preset {
    /// The family of a config.json's `model_type`.
    pub fn from_model_type(name: &str) -> Option<&'static Self> {
        PRESETS
            .iter()
            .find(|preset| preset.model_types.contains(&name))
    }

    /// The family of a GGUF file's `general.architecture`, with experts or without.
    pub fn from_gguf(name: &str, has_experts: bool) -> Option<&'static Self> {
        let named = || PRESETS.iter().filter(|preset| preset.gguf == name);
        let alike = named().find(|preset| preset.experts.is_some() == has_experts);
        alike.or_else(|| named().next())
    }

    /// Why a file that names another family is refused.
    pub(super) fn refusal(name: &str) -> String {
        let supported: Vec<&str> = PRESETS.iter().map(Self::name).collect();
        format!(
            "architecture {name:?} is not among those supported: {}",
            supported.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_to_their_row() {
        for preset in &PRESETS {
            for name in preset.model_types {
                let found = Preset::from_model_type(name).unwrap();
                assert!(std::ptr::eq(found, preset), "{name}");
            }
            let has_experts = preset.experts.is_some();
            let found = Preset::from_gguf(preset.gguf, has_experts).unwrap();
            assert!(std::ptr::eq(found, preset), "{}", preset.gguf);
        }
    }
}
