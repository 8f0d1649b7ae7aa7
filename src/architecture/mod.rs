//! What is known of each family of models, and how its files say it.
//!
//! A family is one row of the table in `presets`: its names, norms, positions and MLP.
//! [`ModelSpec`] is one model: a row and the sizes that its file gives. Two thin readers look keys up, in config.json and
//! in GGUF metadata; `build` asks them and the row, and is the same for both. [`names`] finds the model's tensors.
//!
//! ```
//! use specdec_rs::architecture::{MlpSpec, Preset, config_json};
//!
//! let config = r#"{ "model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 2, "vocab_size": 384 }"#;
//! let spec = config_json::parse(config, "config.json".as_ref())?;
//! assert_eq!(spec.family.name(), "gpt2");
//! assert_eq!(spec.layers[0].mlp, MlpSpec::Plain { width: 256 });
//! assert!(Preset::from_gguf("mamba", None).is_none());
//! # Ok::<(), specdec_rs::Error>(())
//! ```
//!
//! To add a dense family, add its row, and a table of tensor names if it has its own; a fixture with golden logits
//! proves it.

mod build;
pub mod config_json;
pub mod gguf;
mod keys;
pub mod names;
mod preset;
mod presets;
pub mod rope;
mod spec;
mod tensor_names;
mod variants;

pub use preset::{
    AttentionScale, DenseMlp, EmbeddingScale, ExpertsPreset, LessOne, LogitScale, Positions,
    Preset, RecurrentKind, SharedExpert, SlidingLayers, StateSpacePreset,
};
pub use spec::{
    AttentionSpec, DeltaNetSpec, KeyValueSource, LatentSpec, LayerInputsSpec, LayerSpec, MixerSpec,
    ModelSpec, ShortConvSpec, StateSpaceFactors, StateSpaceSpec, StreamsSpec,
};
pub use variants::{
    AttentionGate, Biases, ExpertGroups, ExpertsSpec, MlpSpec, NormPlacement, QueryKeyNorm,
    Residual, RouterSpec, Scores, SharedExpertSpec,
};
