//! A smaller model of the same vocabulary.

use super::{Draft, DraftSource, TokenSource};
use crate::error::{Error, Result};
use crate::model::{SharedModel, TokenSequence};
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
    fn draw(&mut self, law: Distribution<'_>, position: usize) -> (u32, Distribution<'static>) {
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
    sequence: TokenSequence,
    processors: Processors,
    drawing: Drawing,
    /// Tokens of the target; a draft model may be padded further.
    vocab_size: usize,
    /// The tokens in the draft model's cache.
    cached: Vec<u32>,
}

impl ModelDraft {
    /// A draft for one request. `vocab_size` is the target's.
    pub fn new(
        model: &SharedModel,
        processors: Processors,
        drawing: Drawing,
        vocab_size: usize,
    ) -> Self {
        Self {
            sequence: TokenSequence::new(model),
            processors,
            drawing,
            vocab_size,
            cached: Vec::new(),
        }
    }

    /// Whether the model has all these tokens: those of one family pad their vocabularies to different sizes.
    fn knows(&self, tokens: &[u32]) -> bool {
        let known = self.sequence.vocab_size();
        tokens.iter().all(|token| (*token as usize) < known)
    }

    /// Rolls the cache back to what it shares with the history.
    fn reconcile(&mut self, history: &[u32]) -> Result<()> {
        let pairs = self.cached.iter().zip(history);
        let shared = pairs
            .take_while(|(cached, wanted)| cached == wanted)
            .count();
        // At least the newest token must be fed again, to get its logits.
        let kept = shared.min(history.len().saturating_sub(1));
        self.cached.truncate(kept);
        self.sequence.truncate(kept)
    }
}

impl DraftSource for ModelDraft {
    fn read(&mut self, prompt: &[u32]) -> Result<()> {
        let (held, room) = (self.cached.len(), self.sequence.context_length());
        let Some(new) = prompt.get(held..prompt.len().min(room)) else {
            return Ok(());
        };
        if self.knows(new) {
            self.sequence.extend(new, 0)?;
            self.cached.extend(new);
        }
        Ok(())
    }

    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        let mut draft = Draft::default();
        // The draft's own context may be shorter than the target's.
        let room = self.sequence.context_length().saturating_sub(history.len());
        if history.is_empty() || limit.min(room) == 0 {
            return Ok(draft);
        }
        self.reconcile(history)?;
        let mut pending = history[self.cached.len()..].to_vec();
        if !self.knows(&pending) {
            return Ok(draft);
        }
        while draft.len() < limit.min(room) {
            let logits = self.sequence.extend(&pending, 1)?;
            self.cached.append(&mut pending);
            // Rows that only the draft has are padding, which no law of the target's knows.
            let row = &logits.row(0)[..self.sequence.vocab_size().min(self.vocab_size)];
            let law = match self.processors.law(row, history, draft.tokens()) {
                // Behind tokens that the target may never write, or of a draft model that knows nothing.
                Err(Error::NoToken { .. }) => break,
                law => law?,
            };
            let position = history.len() + draft.len();
            let (token, law) = self.drawing.draw(law, position);
            draft.push(token, law, TokenSource::Model);
            pending.push(token);
        }
        Ok(draft)
    }
}
