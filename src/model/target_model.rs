//! What our own transformer can do beyond [`LanguageModel`]: hidden states for draft heads, and a part of itself as a draft.

use std::sync::Arc;

use super::heads::{DraftHead, HeadFiles};
use super::language_model::{Extend, LanguageModel};
use super::logits::Logits;
use crate::error::{Error, Result};

/// A model that speculation can look into. The default bodies refuse: users' models are [`LanguageModel`]s alone.
pub trait TargetModel: LanguageModel {
    /// [`LanguageModel::extend`], which also returns hidden states of all tokens of the sequences that `captured` names layers
    /// for: what goes into a layer, or, by the number of layers, what comes out of the last norm.
    ///
    /// `captured` has an entry for each of the batch, or is empty. All that name layers name the same ones. Logits may ask for the
    /// scores of some tokens alone ([`Logits::among`]).
    fn extend_capturing(
        &mut self,
        batch: &[Extend<'_>],
        captured: &[&[usize]],
        logits: &mut Logits,
    ) -> Result<()> {
        match captured.iter().all(|layers| layers.is_empty()) {
            true => self.extend(batch, logits),
            false => Err(self.has_no("hidden states to draft from")),
        }
    }

    /// The length that no tree, and no draft, may cross in one extension, as the text up to it and a longer one are computed in
    /// different ways; `None` if there is none.
    fn stretches_beyond(&self) -> Option<usize> {
        None
    }

    /// A model of the same weights that computes these layers alone, in this order: a cheap draft for the whole.
    fn with_layers(&self, layers: &[usize]) -> Result<Box<dyn TargetModel>> {
        let _ = layers;
        Err(self.has_no("layers to leave out"))
    }

    /// The same model, of the same weights, for sequences of a draft's.
    fn again(&self) -> Result<Box<dyn TargetModel>> {
        Err(self.has_no("sequences beside its own"))
    }

    /// Brings a head to where this model computes, whose hidden states it reads.
    fn draft_head(&self, files: &HeadFiles) -> Result<Arc<dyn DraftHead>> {
        let _ = files;
        Err(self.has_no("hidden states to draft from"))
    }

    /// The error of a model that lacks what a draft needs.
    #[doc(hidden)]
    fn has_no(&self, what: &str) -> Error {
        let reason = format!("it has no {what}: use another draft");
        Error::unsupported(self.info().architecture, reason)
    }
}

/// A user's model.
impl TargetModel for Box<dyn LanguageModel> {}

/// How many of a sequence's tokens have their hidden states captured.
pub(super) fn captured_tokens(extend: &Extend<'_>, layers: Option<&&[usize]>) -> usize {
    match layers {
        Some(layers) if !layers.is_empty() => extend.tokens.len(),
        _ => 0,
    }
}
