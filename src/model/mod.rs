//! Models: what they are made of, and the one decoder that runs them all.

mod gguf_config;
mod hf_config;
mod layers;
pub mod language_model;
mod load;
pub mod rope;
pub mod spec;
mod transformer;

pub use language_model::{Extend, LanguageModel, Logits, ModelInfo, SequenceId};
pub use load::{LoadOptions, LoadedModel, load};
pub use transformer::Transformer;
