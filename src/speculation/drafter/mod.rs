//! Drafters whose tokens take time: a smaller model, one with another vocabulary, a head on the target's hidden states.

mod cut_vocabulary;
mod draft_model;
mod head;
mod model;
mod retokenizer;
mod sampler;
mod sequence;
mod text;
mod vocabulary;

use super::draft::Draft;
use crate::error::Result;

pub(crate) use cut_vocabulary::frequent_tokens;
pub(crate) use draft_model::DraftModel;
pub use head::HeadDrafter;
pub use model::{DraftedModel, ModelDrafter};
pub use sampler::{Drawing, Sampler};
pub use text::TextDrafter;
pub use vocabulary::{OtherVocabulary, Vocabulary};

/// How much a drafter is to draft.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DraftLimit {
    /// The most tokens of the chain.
    pub tokens: usize,
    /// A token that is right with a lower probability than this, with all before it, costs more than it gives. A drafter that can't
    /// tell may ignore it.
    pub worth: f64,
}

/// Proposes continuations of one request's tokens; drafting takes time, which the planner measures.
pub trait Drafter: Send {
    /// The target's layers whose hidden states it needs ([`TargetModel::extend_capturing`](crate::model::TargetModel::extend_capturing)).
    fn captured_layers(&self) -> &[usize] {
        &[]
    }

    /// How many tokens one of its passes drafts: a draft costs as many passes as it needs.
    fn tokens_a_pass(&self) -> usize {
        1
    }

    /// How many tokens of a text of so many it would read now; `None`: all that are new.
    fn unread(&self, tokens: usize) -> Option<usize> {
        let _ = tokens;
        None
    }

    /// Tells that no hidden states of the text's first tokens will be received, before any are.
    fn skip_hidden(&mut self, tokens: usize) {
        let _ = tokens;
    }

    /// Receives the hidden states of the tokens that the target has processed since the last call.
    fn observe_hidden(&mut self, hidden: &[f32]) {
        let _ = hidden;
    }

    /// Prefills a text, or more of it, before anything is proposed; a drafter may defer it.
    fn prefill(&mut self, text: &[u32]) -> Result<()> {
        let _ = text;
        Ok(())
    }

    /// Proposes a chain of tokens that may follow `history`, within a limit; it may be shorter, or empty. Alternatives may follow the
    /// chain: a target without tree attention gets the chain alone.
    fn propose(&mut self, history: &[u32], limit: DraftLimit) -> Result<Draft>;
}
