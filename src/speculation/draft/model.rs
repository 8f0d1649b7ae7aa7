//! A smaller model, whose tokens are drawn as the target's are.

use super::reader::Reader;
use super::vocabulary::Vocabulary;
use super::{Draft, DraftSource, TokenSource};
use crate::error::{Error, Result};
use crate::model::SharedModel;
use crate::sampling::{Chance, Distribution, Noise, NoiseStream, Processors};

/// How tokens are drawn from the draft model's laws.
pub enum Drawing {
    /// With the noise by which the target will choose: the drafted token is certain, not drawn.
    Coupled(Noise),
    /// By chance of its own, for verification that weighs p against q.
    Independent(NoiseStream),
}

impl Drawing {
    /// A token for a position, and the law that verification has to know of.
    pub(super) fn draw(
        &mut self,
        law: Distribution<'_>,
        position: usize,
    ) -> (u32, Distribution<'static>) {
        match self {
            Self::Coupled(noise) => {
                let token = noise.choose(position, &law);
                (token, Distribution::Point(token))
            }
            Self::Independent(chance) => (chance.categorical(&law), law.into_owned()),
        }
    }
}

/// Drafts by sampling from a model, under the request's own processors.
pub struct ModelDraft {
    reader: Reader,
    vocabulary: Vocabulary,
    processors: Processors,
    drawing: Drawing,
    /// Tokens of the target; a draft model may be padded further.
    vocab_size: usize,
}

impl ModelDraft {
    /// A draft for one request. `vocab_size` is the target's.
    pub fn new(
        model: &SharedModel,
        vocabulary: Vocabulary,
        processors: Processors,
        drawing: Drawing,
        vocab_size: usize,
    ) -> Self {
        Self {
            reader: Reader::new(model),
            vocabulary,
            processors,
            drawing,
            vocab_size,
        }
    }
}

impl DraftSource for ModelDraft {
    fn read(&mut self, prompt: &[u32]) -> Result<()> {
        match self.vocabulary.follow(prompt) {
            Some(text) => self.reader.read(text),
            None => Ok(()),
        }
    }

    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        let mut draft = Draft::default();
        let Some(text) = self.vocabulary.follow(history) else {
            return Ok(draft);
        };
        let limit = limit.min(self.reader.room(text.len()));
        if limit == 0 {
            return Ok(draft);
        }
        let mut pending = self.reader.reconcile(text)?;
        while draft.len() < limit {
            let Some(logits) = self.reader.next(&mut pending)? else {
                break;
            };
            let row = self.vocabulary.logits(logits.row(0), self.vocab_size);
            let law = match self.processors.law(&row, history, draft.tokens()) {
                // Behind tokens that the target may never write, or of a draft model that knows nothing.
                Err(Error::NoToken { .. }) => break,
                law => law?,
            };
            let position = history.len() + draft.len();
            let (token, law) = self.drawing.draw(law, position);
            draft.push(token, law, TokenSource::Model);
            pending.extend(self.vocabulary.to_draft(token));
        }
        Ok(draft)
    }
}
