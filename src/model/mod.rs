//! Models: what they are made of, and the one decoder that runs them all.

mod draft_head;
mod eagle;
mod gguf_config;
mod hf_config;
pub mod language_model;
mod layers;
mod load;
pub(crate) mod memory;
mod names;
mod options;
pub mod rope;
mod sequence;
pub mod spec;
mod transformer;
mod tree;

pub use draft_head::{DraftHead, Features, HeadOutput, HeadSequence};
pub use eagle::EagleFiles;
pub use language_model::{
    BatchLogits, Extend, LanguageModel, Logits, LogitsView, ModelInfo, SequenceId,
};
pub use load::{LoadedModel, OpenModel, load, load_tokenizer};
pub use options::{Kernels, LoadOptions};
pub use sequence::{Append, SharedModel, TokenSequence, extend_all};
pub use transformer::Transformer;
pub use tree::Parents;
