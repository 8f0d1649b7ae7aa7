//! Models: the one decoder that runs every family, and what speculation sees of it.

mod adapted_model;
mod altup;
mod batch_logits;
mod heads;
mod host;
mod info;
pub mod language_model;
mod layer;
mod layer_inputs;
mod load;
mod loader;
mod logits;
pub(crate) mod memory;
mod mixer;
mod mlp;
mod norms;
mod open_model;
mod options;
mod pass;
mod sampling_defaults;
mod sequence;
mod states;
mod target_model;
mod token_rows;
mod transformer;
mod tree;

pub use adapted_model::AdaptedModel;
pub use batch_logits::{BatchLogits, LogitsView};
pub(crate) use heads::recurrent::{RecurrentConfig, tensors as recurrent_tensors};
pub use heads::{
    AssistantFiles, Beside, BlockFiles, DraftHead, EagleFiles, HeadFiles, HeadSequence, OpenDraft,
    PredictionFiles, RecurrentFiles, heads_beside,
};
pub use info::ModelInfo;
pub use language_model::{Extend, LanguageModel, SequenceId};
pub(crate) use load::load_checkpoint;
pub use load::{LoadedModel, load, load_opened, load_tokenizer, requirements};
pub use logits::{Logits, LogitsRow};
pub use open_model::OpenModel;
pub use options::{Kernels, LoadOptions};
pub use sequence::{Append, SharedModel, TokenSequence, extend_all};
pub use target_model::TargetModel;
pub use token_rows::TokenRows;
pub use transformer::Transformer;
#[cfg(test)]
pub(crate) use transformer::toy;
pub use tree::Parents;
