//! Drafters whose tokens take time: a smaller model, a head on the target's hidden states, a text of another vocabulary.

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

pub(crate) use draft_model::DraftModel;
pub use head::HeadDrafter;
pub use model::ModelDrafter;
pub use sampler::{Drawing, Sampler};
pub use text::TextDrafter;
pub use vocabulary::{OtherVocabulary, Vocabulary};

/// Proposes continuations of one request's tokens; drafting takes time, which the planner measures.
pub trait Drafter: Send {
    /// The target's layers whose hidden states it needs ([`TargetModel::extend_capturing`](crate::model::TargetModel::extend_capturing)).
    fn captured_layers(&self) -> &[usize] {
        &[]
    }

    /// Receives the hidden states of the tokens that the target has processed since the last call.
    fn observe_hidden(&mut self, hidden: &[f32]) {
        let _ = hidden;
    }

    /// Prefills a text, or more of it, before anything is proposed; a drafter may put it off.
    fn prefill(&mut self, text: &[u32]) -> Result<()> {
        let _ = text;
        Ok(())
    }

    /// At most `limit` tokens that may follow `history`, each after the one before it; fewer, or none, if it knows no better.
    /// Alternatives may follow the first chain: a target without tree attention gets that chain alone.
    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft>;
}
