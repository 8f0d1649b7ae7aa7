//! Draft sources that the product doesn't have: trees, and drafts that are wrong.

use specdec_rs::model::TokenSequence;
use specdec_rs::sampling::{Distribution, Noise, NoiseStream, Processors, Rng};
use specdec_rs::speculation::{Draft, Drafter, TokenSource};
use specdec_rs::{Result, SpeculativeConfig, SpeculativeDecoder, Verification};

/// The shape of a draft: for each node its parent.
pub type Shape = Vec<Option<usize>>;

/// Drafts trees of one shape from the draft model's laws: drawn without replacement where verification weighs laws, else
/// the likeliest tokens.
pub struct ModelTree {
    sequence: TokenSequence,
    processors: Processors,
    chance: NoiseStream,
    drawn: bool,
    shape: Shape,
}

impl ModelTree {
    pub fn new(
        decoder: &SpeculativeDecoder,
        config: &SpeculativeConfig,
        prompt_length: usize,
        shape: Shape,
    ) -> Self {
        Self {
            sequence: decoder.draft_sequence().unwrap(),
            processors: decoder.processors(config, prompt_length).unwrap(),
            chance: Noise::new(config.seed.unwrap()).stream(9),
            drawn: config.verification != Verification::Coupled,
            shape,
        }
    }

    /// What the draft model gives the tokens that follow a node.
    fn distribution(&mut self, history: &[u32], drafted: &[u32]) -> Result<Distribution<'static>> {
        self.sequence.truncate(0)?;
        let ids = [history, drafted].concat();
        let logits = self.sequence.extend(&ids, 1)?;
        let law = self
            .processors
            .distribution(logits.row(0), history, drafted)?;
        Ok(law.into_owned())
    }
}

impl Drafter for ModelTree {
    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        let mut draft = Draft::default();
        for parent in self.shape.clone().into_iter().take(limit) {
            if history.len() + draft.depth() >= self.sequence.context_length() {
                break;
            }
            let above = parent.map_or_else(Vec::new, |parent| draft.path(parent));
            let mut law = Some(self.distribution(history, &above)?);
            for elder in draft.children(parent).collect::<Vec<_>>() {
                law = law.and_then(|law| law.without(draft.tokens()[elder]));
            }
            // A tree of fewer nodes, where siblings have used up the law's tokens.
            let Some(law) = law else { break };
            let (token, law) = if self.drawn {
                (self.chance.categorical(&law), law)
            } else {
                let mut best = (0, 0.0);
                law.for_each(|token, p| {
                    if p > best.1 {
                        best = (token, p);
                    }
                });
                (best.0, Distribution::Point(best.0))
            };
            draft.push_child(parent, token, law, TokenSource::Model);
        }
        Ok(draft)
    }
}

/// Drafts a text that was written down before, with every so many-th token wrong (1: all).
pub struct Recited {
    pub whole: Vec<u32>,
    pub wrong_every: usize,
    pub vocab_size: u32,
}

impl Drafter for Recited {
    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        let mut draft = Draft::default();
        for (index, token) in self
            .whole
            .iter()
            .enumerate()
            .skip(history.len())
            .take(limit)
        {
            let wrong = u32::from(index.is_multiple_of(self.wrong_every));
            let token = (token + wrong) % self.vocab_size;
            draft.push(token, Distribution::Point(token), TokenSource::Ngram);
        }
        Ok(draft)
    }
}
