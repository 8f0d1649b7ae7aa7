//! The families of models that this crate runs, a row each, in a file for each maker. A row says what sets it apart from Llama.

#![allow(
    clippy::wildcard_imports,
    reason = "rows are written in what this module lists"
)]

mod cohere;
mod deepseek;
mod falcon;
mod gemma;
mod glm;
mod gpt;
mod granite;
mod lfm2;
mod mistral;
mod muse_glimmer;
mod nemotron;
mod olmo;
mod others;
mod qwen;

// What rows are made of.
use super::preset::{
    AttentionScale, DenseMlp, EmbeddingScale, ExpertsPreset, LessOne, LogitScale, Positions,
    Preset, RecurrentKind, SharedExpert, SlidingLayers, StateSpacePreset,
};
use super::tensor_names as names;
use super::variants::{AttentionGate, Biases, NormPlacement, QueryKeyNorm, Residual, Scores};
use crate::backend::{Activation, GateOrder, Gating, NormKind, Pairing};

/// Every family. Of those whose GGUF files have one name, the first reads them.
static PRESETS: [&Preset; 40] = [
    &gpt::GPT2,
    &LLAMA,
    &mistral::MISTRAL,
    &qwen::QWEN2,
    &qwen::QWEN3,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &gemma::GEMMA3N,
    &gemma::GEMMA4,
    &others::PHI3,
    &gpt::GPT_NEOX,
    &olmo::OLMO2,
    &others::SMOLLM3,
    &mistral::MIXTRAL,
    &qwen::QWEN2_MOE,
    &qwen::QWEN3_MOE,
    &olmo::OLMOE,
    &lfm2::LFM2,
    &lfm2::LFM2_MOE,
    &gpt::GPT_OSS,
    &qwen::QWEN3_5,
    &qwen::QWEN3_5_MOE,
    &qwen::QWEN3_NEXT,
    &mistral::MISTRAL3,
    &granite::GRANITE,
    &olmo::OLMO3,
    &others::STARCODER2,
    &others::SEED_OSS,
    &others::HUNYUAN_V1_DENSE,
    &others::EXAONE4,
    &cohere::COHERE2,
    &glm::GLM4_MOE,
    &muse_glimmer::MUSE_GLIMMER,
    &granite::GRANITE_MOE_HYBRID,
    &nemotron::NEMOTRON_H,
    &nemotron::NEMOTRON_H_MOE,
    &falcon::FALCON_H1,
    &deepseek::DEEPSEEK_V3,
    &deepseek::DEEPSEEK_V2,
    &deepseek::GLM4_MOE_LITE,
];

/// A row of its own, and what the others are written against.
const LLAMA: Preset = Preset {
    models: "Llama, and SmolLM2",
    model_types: &["llama"],
    gguf: "llama",
    tensors: &names::LLAMA,
    norm: NormKind::Rms(1e-6),
    norm_placement: NormPlacement::Before,
    norm_biases: true,
    after_epsilon: None,
    norms_less_one: LessOne::None,
    query_key_norm: QueryKeyNorm::None,
    may_lack_query_key_norm: false,
    residual: Residual::Sequential,
    mlp: DenseMlp::Gated,
    mlp_ratio: None,
    experts: None,
    may_lack_experts: false,
    activation: Activation::Silu,
    biases: Biases::AsStored,
    positions: Positions::Rotary,
    recurrent: None,
    half_layers: false,
    latent: false,
    adjusted_width: false,
    pairing: Pairing::Halves,
    gguf_pairing: Pairing::Interleaved,
    sliding: SlidingLayers::None,
    window: None,
    attention_scale: AttentionScale::HeadDim,
    heads_by_sliding: false,
    value_norm: false,
    may_share_keys: false,
    may_have_layer_inputs: false,
    streams: false,
    layer_scales: false,
    attention_gate: AttentionGate::None,
    attention_sinks: false,
    rounded_yarn: true,
    attention_softcap: None,
    logit_softcap: None,
    embedding_scale: EmbeddingScale::None,
    embedding_norm: false,
    has_residual_scale: false,
    logit_scale: LogitScale::None,
};

/// Qwen's router, and what others are written against.
const SOFTMAX_ROUTER: ExpertsPreset = ExpertsPreset {
    scores: Scores::Softmax,
    normalized: true,
    states_normalized: true,
    states_scale: false,
    epsilon: 0.0,
    gating: None,
    counted_of_group: 2,
    biased: false,
    shared: SharedExpert::None,
    gated: true,
    beside_dense: false,
};

/// The router of DeepSeek-V3 and those that followed it.
const GROUPED_ROUTER: ExpertsPreset = ExpertsPreset {
    scores: Scores::Sigmoid,
    states_scale: true,
    epsilon: 1e-20,
    biased: true,
    shared: SharedExpert::Times,
    ..SOFTMAX_ROUTER
};

/// Families by the names that files give them.
impl Preset {
    /// Every family.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        PRESETS.into_iter()
    }

    /// The family of a config.json's `model_type`.
    pub fn from_model_type(name: &str) -> Option<&'static Self> {
        let mut presets = PRESETS.iter().copied();
        presets.find(|preset| preset.model_types.contains(&name))
    }

    /// The family of a GGUF file's `general.architecture`; `scores`: what its router's logits count, if it has experts.
    pub fn from_gguf(name: &str, scores: Option<Scores>) -> Option<&'static Self> {
        let named = || PRESETS.iter().copied().filter(|preset| preset.gguf == name);
        let same = named().find(|preset| preset.experts.map(|own| own.scores) == scores);
        let alike = || named().find(|preset| preset.experts.is_some() == scores.is_some());
        same.or_else(alike).or_else(|| named().next())
    }

    /// Why a file that names another family is refused.
    pub(super) fn refusal(name: &str) -> String {
        let supported: Vec<&str> = PRESETS.iter().map(|preset| preset.name()).collect();
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
    fn names_lead_to_their_row() {
        for preset in PRESETS {
            for name in preset.model_types {
                let found = Preset::from_model_type(name).unwrap();
                assert!(std::ptr::eq(found, preset), "{name}");
            }
            let scores = preset.experts.map(|experts| experts.scores);
            let found = Preset::from_gguf(preset.gguf, scores).unwrap();
            assert_eq!(found.gguf, preset.gguf);
            let found = found.experts.map(|experts| experts.scores);
            assert_eq!(found, scores, "{}", preset.gguf);
        }
    }
}
