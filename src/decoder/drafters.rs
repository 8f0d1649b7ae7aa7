//! The drafters of a request: which ones its settings ask for, and how they are put together.

use std::sync::Arc;

use super::SpeculativeDecoder;
use crate::error::{Error, Result};
use crate::model::{DraftHead, SharedModel};
use crate::sampling::{Noise, Processors};
use crate::settings::{DraftKind, SpeculativeConfig, Verification};
use crate::speculation::drafter::{
    Drawing, HeadDrafter, ModelDrafter, OtherVocabulary, Sampler, TextDrafter, Vocabulary,
};
use crate::speculation::retrieval::{
    GrammarDrafter, NgramDrafter, PredictionDrafter, RecyclingDrafter, TableDrafter,
};
use crate::speculation::{
    Acceptance, Controller, Drafter, RetrievalDrafter, RetrievalDrafters, TokenSource,
};

/// The stream of a request's noise that its draft draws from; verification has another, so that neither shifts the other.
const DRAFT_STREAM: u16 = 1;

/// A drafter with weights.
#[derive(Clone)]
pub(super) enum DraftModel {
    /// A model, and its vocabulary where that is not the target's.
    Model(SharedModel, Option<Arc<OtherVocabulary>>),
    /// A head that reads the target's hidden states.
    Head(Arc<dyn DraftHead>),
}

impl SpeculativeDecoder {
    /// The drafters of a request, and the planner that chooses among them.
    pub(super) fn controller(
        &self,
        config: &SpeculativeConfig,
        processors: &Processors,
        noise: Noise,
        prompt_length: usize,
    ) -> Result<Controller> {
        let kind = config.draft.unwrap_or(self.default_draft);
        if kind == DraftKind::Model && self.draft.is_none() {
            let expected =
                "a source without a model, as this decoder was loaded without a draft model";
            return Err(Error::invalid("draft", kind, expected));
        }
        let drafts = config.gamma > 0 && kind != DraftKind::None;
        let wants = |wanted| drafts && (kind == DraftKind::Auto || kind == wanted);
        let mut retrieval: Vec<Box<dyn RetrievalDrafter>> = Vec::new();
        if drafts && config.response_format.is_some() {
            let forced = GrammarDrafter::new(processors.clone(), prompt_length);
            retrieval.push(Box::new(forced));
        }
        if let Some(prediction) = &config.prediction
            && drafts
        {
            let tokens = self.tokenizer.encode(prediction, false)?;
            retrieval.push(Box::new(PredictionDrafter::new(tokens, prompt_length)));
        }
        if wants(DraftKind::Ngram) {
            retrieval.push(Box::new(NgramDrafter::default()));
        }
        if wants(DraftKind::Table) {
            retrieval.push(Box::new(TableDrafter::new(&self.statistics.table)));
        }
        if wants(DraftKind::Recycling) {
            retrieval.push(Box::new(RecyclingDrafter::new(&self.statistics.successors)));
        }
        let controller = self.controller_of(config, retrieval);
        let Some(model) = self.draft.as_ref().filter(|_| wants(DraftKind::Model)) else {
            return Ok(controller);
        };
        let source = self.model_source(model, config, processors, noise)?;
        Ok(controller.with_drafter(source, TokenSource::Model))
    }

    /// A drafter with weights, for one request.
    fn model_source(
        &self,
        draft: &DraftModel,
        config: &SpeculativeConfig,
        processors: &Processors,
        noise: Noise,
    ) -> Result<Box<dyn Drafter>> {
        let drawing = match config.verification {
            Verification::Coupled => Drawing::Coupled(noise),
            Verification::Rejection | Verification::Block => {
                Drawing::Independent(noise.stream(DRAFT_STREAM))
            }
        };
        let vocab_size = self.target.vocab_size();
        let mut sampler = Sampler::new(processors.clone(), drawing, vocab_size);
        if config.adaptive {
            sampler = sampler.with_alternatives();
        }
        let (model, vocabulary) = match draft {
            DraftModel::Head(head) => {
                let draft = HeadDrafter::new(head, sampler)?;
                return Ok(Box::new(draft));
            }
            // Greedy decoding compares texts, so the draft may tokenize its words in any way.
            DraftModel::Model(model, Some(other))
                if config.is_greedy() && config.response_format.is_none() && !other.is_near() =>
            {
                return Ok(Box::new(TextDrafter::new(model, other, vocab_size)?));
            }
            DraftModel::Model(model, Some(other)) => (
                model,
                Vocabulary::Other(other.clone(), other.retokenizer()?),
            ),
            DraftModel::Model(model, None) => (model, Vocabulary::Same),
        };
        let draft = ModelDrafter::new(model, vocabulary, sampler);
        Ok(Box::new(draft))
    }

    pub(super) fn controller_of(
        &self,
        config: &SpeculativeConfig,
        retrieval: Vec<Box<dyn RetrievalDrafter>>,
    ) -> Controller {
        let acceptance = Acceptance::new(&self.statistics.acceptance, config.is_greedy());
        let retrieval = RetrievalDrafters::new(retrieval, self.target.vocab_size());
        Controller::new(
            config.gamma,
            config.adaptive,
            &self.statistics.costs,
            acceptance,
            retrieval,
        )
    }
}
