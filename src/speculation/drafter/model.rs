//! A smaller model, whose tokens are drawn as the target's are.
//!
//! A model that was trained to may draft several tokens in one pass: masks stand for those before (PARD, 2504.18583).

use std::sync::Arc;

use super::sampler::Sampler;
use super::sequence::DraftSequence;
use super::vocabulary::Vocabulary;
use super::{DraftLimit, Drafter};
use crate::backend::OutputTiles;
use crate::error::Result;
use crate::model::SharedModel;
use crate::speculation::Draft;

/// The most tokens of one pass with masks: as many as such models are trained for.
const MAX_PARALLEL: usize = 8;

/// A model to draft from.
#[derive(Clone)]
pub struct DraftedModel {
    /// It.
    pub model: SharedModel,
    /// How many of the last tokens of a long text it has, if fewer than its context allows.
    pub window: Option<usize>,
    /// The token that stands for one to come, if it knows such.
    pub mask: Option<u32>,
    /// The most frequent tokens, where it chooses among those and the text's.
    pub frequent: Option<Arc<OutputTiles>>,
}

/// Drafts by sampling from a model.
pub struct ModelDrafter {
    sequence: DraftSequence,
    mask: Option<u32>,
    vocabulary: Vocabulary,
    sampler: Sampler,
}

impl ModelDrafter {
    /// A drafter for one request.
    pub fn new(drafted: &DraftedModel, vocabulary: Vocabulary, sampler: Sampler) -> Self {
        Self {
            sequence: DraftSequence::new(&drafted.model, drafted.window),
            mask: drafted.mask,
            vocabulary,
            sampler,
        }
    }
}

impl Drafter for ModelDrafter {
    fn tokens_a_pass(&self) -> usize {
        self.mask.map_or(1, |_| MAX_PARALLEL)
    }

    fn unread(&self, tokens: usize) -> Option<usize> {
        Some(self.sequence.unread(tokens))
    }

    fn prefill(&mut self, prompt: &[u32]) -> Result<()> {
        match self.vocabulary.follow(prompt) {
            Some(text) => self.sequence.prefill(text),
            None => Ok(()),
        }
    }

    fn propose(&mut self, history: &[u32], limit: DraftLimit) -> Result<Draft> {
        let mut draft = Draft::default();
        let Some(text) = self.vocabulary.follow(history) else {
            return Ok(draft);
        };
        let tokens = limit.tokens.min(self.sequence.room(text.len()));
        if tokens == 0 {
            return Ok(draft);
        }
        let mut pending = self.sequence.reconcile(text)?;
        'passes: while draft.len() < tokens {
            let rows = (tokens - draft.len()).min(self.tokens_a_pass());
            let masks = self.mask.map(|mask| vec![mask; rows - 1]);
            let masks = masks.unwrap_or_default();
            let among = self.vocabulary.among();
            let Some(logits) = self.sequence.next_masked(&mut pending, &masks, among)? else {
                break;
            };
            for row in 0..rows {
                let row = logits.row(row);
                let row = self.vocabulary.logits(row, self.sampler.vocab_size());
                let Some(token) = self.sampler.draw(&row, history, &mut draft)? else {
                    break 'passes;
                };
                if self.sampler.expects(draft.len()) < limit.worth {
                    break 'passes;
                }
                pending.extend(self.vocabulary.to_draft(token));
            }
        }
        self.sampler.widen(&mut draft);
        Ok(draft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::ModelFiles;
    use crate::model::{LoadOptions, TokenSequence, load};
    use crate::sampling::{Noise, Processors};
    use crate::settings::SpeculativeConfig;
    use crate::speculation::drafter::Drawing;
    use crate::speculation::drafter::cut_vocabulary::CutVocabulary;

    #[test]
    fn with_a_cut_vocabulary_the_best_of_its_tokens_is_drafted() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pair/draft");
        let files = ModelFiles::Folder(folder.into());
        let model = SharedModel::new(load(&files, &LoadOptions::default()).unwrap().model);
        let mut frequent = OutputTiles::new(model.vocab_size());
        (0..64).for_each(|token| frequent.add(token));
        let drafted = DraftedModel {
            model: model.clone(),
            window: None,
            mask: None,
            frequent: None,
        };
        let vocabulary = Vocabulary::Cut(CutVocabulary::new(&frequent, model.vocab_size()));
        let config = SpeculativeConfig {
            temperature: 0.0,
            ..SpeculativeConfig::unmodified()
        };
        let processors = Processors::new(&config, 1, None);
        let drawing = Drawing::Coupled(Noise::new(0));
        let sampler = Sampler::new(processors, drawing, model.vocab_size());
        let mut drafter = ModelDrafter::new(&drafted, vocabulary, sampler);
        let text = [200, 3, 77, 310];
        let limit = DraftLimit {
            tokens: 6,
            worth: 0.0,
        };
        let draft = drafter.propose(&text, limit).unwrap();
        assert_eq!(draft.len(), 6);
        let mut sequence = TokenSequence::new(&model);
        let mut logits = sequence.extend(&text, 1).unwrap();
        let mut differs = false;
        for token in draft.tokens() {
            let row = logits.row(0);
            let best = |is_among: &dyn Fn(usize) -> bool| {
                let among = (0..row.len()).filter(|id| is_among(*id));
                among.max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32
            };
            let of_text = |id: usize| text.iter().any(|token| *token as usize / 16 == id / 16);
            assert_eq!(*token, best(&|id| id < 64 || of_text(id)));
            differs |= *token != best(&|_| true);
            logits = sequence.extend(&[*token], 1).unwrap();
        }
        assert!(differs);
    }
}
