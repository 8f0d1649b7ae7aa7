//! Draft heads, which read the target's hidden states: what speculation sees of one, and those that are published.
//!
//! A head of EAGLE's kind, or a model's own layer for multi-token prediction, drafts token by token (`steps`); a block drafter
//! guesses several tokens in one pass (`block`); the head that `specdec distill` makes has no attention (`recurrent`). An
//! assistant also reads the target's keys and values (`assistant`).

mod assistant;
mod beside;
mod block;
mod eagle;
mod embedding;
mod files;
mod gguf;
mod output_head;
mod parallel;
mod prediction;
pub(crate) mod recurrent;
mod sequence;
mod steps;
mod tensors;

use std::sync::Arc;

use crate::architecture::ModelSpec;
use crate::backend::{Backend, Linear, Norm, OutputTiles};
use crate::error::Result;
use crate::model::info::ModelInfo;
use crate::model::layer::Layer;
use crate::model::loader::HeadMatrices;
pub use assistant::AssistantFiles;
pub use beside::{Beside, heads_beside};
pub use block::BlockFiles;
pub use eagle::EagleFiles;
pub use files::{HeadFiles, OpenDraft};
use output_head::OutputHead;
pub use prediction::PredictionFiles;
pub use recurrent::RecurrentFiles;

/// A head, for any number of sequences.
pub trait DraftHead: Send + Sync {
    /// Before which of the target's layers the hidden states that it reads are captured; their number: after the last norm.
    fn captured_layers(&self) -> &[usize];

    /// How many values of hidden states the target has for a token.
    fn width(&self) -> usize;

    /// The target's token of each of the head's; `None`: they are the same.
    fn to_target(&self) -> Option<&[u32]>;

    /// How many tokens one pass drafts.
    fn tokens_a_pass(&self) -> usize {
        1
    }

    /// An empty sequence.
    fn begin(&self) -> Result<Box<dyn HeadSequence>>;

    /// Facts for reports.
    fn info(&self) -> ModelInfo;
}

/// One sequence of a head.
pub trait HeadSequence: Send {
    /// Appends tokens, at least one, each with the target's hidden states of the token before it,
    /// `[tokens][captured layers][hidden size]`.
    fn append(&mut self, tokens: &[u32], features: &[f32]) -> Result<()>;

    /// Appends a token that was drafted.
    fn draft(&mut self, token: u32) -> Result<()>;

    /// Scores of the head's own tokens after the last one that it has, or of some of them, in their order.
    fn logits(&mut self, among: Option<&OutputTiles>) -> Result<Vec<f32>>;

    /// How probable the head takes it that its guess after the last token is right; `None`: it doesn't say. After `logits`.
    fn confidence(&mut self) -> Result<Option<f32>> {
        Ok(None)
    }

    /// Forgets all but the first `length` tokens.
    fn truncate(&mut self, length: usize);

    /// How many more tokens it may hold.
    fn room(&self) -> usize;
}

/// What a head takes from the target that it drafts for.
pub(in crate::model) struct TargetParts<'a, B: Backend> {
    pub(in crate::model) spec: &'a ModelSpec,
    pub(in crate::model) backend: &'a Arc<B>,
    pub(in crate::model) layers: &'a [Arc<Layer<B>>],
    pub(in crate::model) embedding: &'a Arc<Linear<B>>,
    pub(in crate::model) final_norm: &'a Arc<Norm<B>>,
    pub(in crate::model) head: &'a Arc<Linear<B>>,
}

impl<B: Backend> TargetParts<'_, B> {
    /// Brings a head's weights to the target's backend.
    pub(in crate::model) fn load(&self, files: &HeadFiles) -> Result<Arc<dyn DraftHead>> {
        files.check(self.spec)?;
        Ok(match files {
            HeadFiles::Assistant(files) => Arc::new(assistant::load(files, self)?),
            HeadFiles::Block(files) => Arc::new(block::load(files, self)?),
            HeadFiles::Eagle(files) => eagle::load(files, self)?,
            HeadFiles::Prediction(files) => Arc::new(prediction::load(files, self)?),
            HeadFiles::Recurrent(files) => Arc::new(recurrent::load(files, self)?),
        })
    }

    /// How a head's matrices are held.
    fn matrices(&self) -> HeadMatrices {
        HeadMatrices::beside(self.backend.matrix_storage(&self.head.matrix))
    }

    /// What gives the target's logits.
    fn output_head(&self) -> OutputHead<B> {
        OutputHead {
            linear: self.head.clone(),
            scale: self.spec.logit_scale,
            softcap: self.spec.logit_softcap,
        }
    }

    /// Facts about a head.
    fn info(&self, architecture: &str, parameters: u64) -> ModelInfo {
        let backend = self.backend;
        ModelInfo {
            architecture: architecture.into(),
            parameters,
            device: backend.device_name(),
            kernels: backend.kernels(),
            threads: backend.threads(),
            context_length: self.spec.context_length,
            vocab_size: self.spec.vocab_size,
            ..ModelInfo::default()
        }
    }
}

/// Why a head for targets of this width and vocabulary does not fit one; `None`: it fits.
fn misfit(target: &ModelSpec, hidden_size: usize, vocab_size: usize) -> Option<String> {
    let (wide, tokens) = (target.hidden_size, target.vocab_size);
    if hidden_size != wide {
        return Some(format!(
            "it is for targets {hidden_size} wide, and this one is {wide}"
        ));
    }
    (vocab_size.abs_diff(tokens) > MAX_PADDING)
        .then(|| format!("it is for targets of {vocab_size} tokens, and this one has {tokens}"))
}

/// Why a head that reads these layers does not fit a target; `None`: it fits.
fn misfit_of_layers(target: &ModelSpec, captured: &[usize]) -> Option<String> {
    let layers = target.layers.len();
    let is_there = !captured.is_empty() && captured.iter().all(|layer| *layer <= layers);
    (!is_there).then(|| format!("it reads layers {captured:?} of a target that has {layers}"))
}

/// Tokens by which the vocabularies of one family differ: rows that fill up a matrix.
const MAX_PADDING: usize = 1024;
