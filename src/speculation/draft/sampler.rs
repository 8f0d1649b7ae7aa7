//! How a draft's tokens are drawn from logits.

use super::{Draft, TokenSource};
use crate::error::{Error, Result};
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

/// Draws tokens under the request's own processors.
pub struct Sampler {
    processors: Processors,
    drawing: Drawing,
    /// Tokens of the target.
    vocab_size: usize,
}

impl Sampler {
    /// For one request. `vocab_size` is the target's.
    pub fn new(processors: Processors, drawing: Drawing, vocab_size: usize) -> Self {
        Self {
            processors,
            drawing,
            vocab_size,
        }
    }

    /// Number of the target's tokens.
    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Adds a token to a chain, by logits of the target's tokens; returns it. `None`: none is possible, as behind tokens that
    /// the target may never write, or of a draft model that knows nothing.
    pub(super) fn draw(
        &mut self,
        logits: &[f32],
        history: &[u32],
        draft: &mut Draft,
    ) -> Result<Option<u32>> {
        let law = match self.processors.law(logits, history, draft.tokens()) {
            Err(Error::NoToken { .. }) => return Ok(None),
            law => law?,
        };
        let (token, law) = self.drawing.draw(law, history.len() + draft.len());
        draft.push(token, law, TokenSource::Model);
        Ok(Some(token))
    }
}
