//! Drafters with weights: a model, or a head on the target's hidden states.

use std::sync::Arc;

use super::cut_vocabulary::CutVocabulary;
use super::{
    DraftedModel, Drafter, Drawing, HeadDrafter, ModelDrafter, OtherVocabulary, Sampler,
    TextDrafter, Vocabulary,
};
use crate::backend::OutputTiles;
use crate::error::Result;
use crate::model::{DraftHead, SharedModel};
use crate::sampling::{Noise, Processors};
use crate::settings::{SpeculativeConfig, Verification};
use crate::speculation::Acceptance;
use crate::speculation::acceptance::SharedAcceptance;

/// The stream of a request's noise that its draft draws from; verification has its own, so that neither affects the other.
const DRAFT_STREAM: u16 = 1;

/// The draft weights of a decoder.
#[derive(Clone)]
pub(crate) enum DraftModel {
    /// A model, and its vocabulary, if that differs from the target's.
    Model(DraftedModel, Option<Arc<OtherVocabulary>>),
    /// A head on the target's hidden states, and the most frequent tokens, where it chooses among those.
    Head(Arc<dyn DraftHead>, Option<Arc<OutputTiles>>),
}

impl DraftModel {
    /// A model of the target's vocabulary.
    pub(crate) fn of_same_vocabulary(model: SharedModel) -> Self {
        let drafted = DraftedModel {
            model,
            window: None,
            mask: None,
            frequent: None,
        };
        Self::Model(drafted, None)
    }

    /// The model; `None`: it is a head.
    pub(crate) fn model(&self) -> Option<&SharedModel> {
        match self {
            Self::Model(drafted, _) => Some(&drafted.model),
            Self::Head(..) => None,
        }
    }

    /// Makes the drafter for one request.
    pub(crate) fn drafter(
        &self,
        config: &SpeculativeConfig,
        processors: &Processors,
        noise: Noise,
        (vocab_size, acceptance): (usize, &SharedAcceptance),
    ) -> Result<Box<dyn Drafter>> {
        let drawing = match config.verification {
            Verification::Coupled => Drawing::Coupled(noise),
            Verification::Rejection | Verification::Block => {
                Drawing::Independent(noise.stream(DRAFT_STREAM))
            }
        };
        let mut sampler = Sampler::new(processors.clone(), drawing, vocab_size);
        if config.adaptive {
            let acceptance = Acceptance::new(acceptance, config.is_greedy());
            sampler = sampler.with_alternatives(acceptance);
        }
        let (drafted, vocabulary) = match self {
            Self::Head(head, frequent) => {
                return Ok(Box::new(HeadDrafter::new(
                    head,
                    sampler,
                    frequent.as_deref(),
                )?));
            }
            Self::Model(drafted, vocabulary) => (drafted, vocabulary.as_ref()),
        };
        let vocabulary = match vocabulary {
            // Under greedy decoding the texts are compared, so the two may be tokenized differently.
            Some(other)
                if config.is_greedy() && config.response_format.is_none() && !other.is_near() =>
            {
                return Ok(Box::new(TextDrafter::new(
                    &drafted.model,
                    other,
                    vocab_size,
                )?));
            }
            Some(other) => Vocabulary::Other(other.clone(), other.retokenizer()?),
            None => match &drafted.frequent {
                Some(frequent) => Vocabulary::Cut(CutVocabulary::new(frequent, vocab_size)),
                None => Vocabulary::Same,
            },
        };
        let drafter = ModelDrafter::new(drafted, vocabulary, sampler);
        Ok(Box::new(drafter))
    }
}
