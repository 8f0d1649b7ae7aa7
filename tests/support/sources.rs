//! Draft sources for tests: trees, and wrong drafts.

use specdec_rs::DraftKind;
use specdec_rs::model::TokenSequence;
use specdec_rs::sampling::{Distribution, Noise, NoiseStream, Processors, Rng};
use specdec_rs::speculation::{Draft, DraftLimit, Drafter};
use specdec_rs::{Result, SpeculativeConfig, SpeculativeDecoder, Verification};

/// The shape of a draft: the parent of each node.
pub type Shape = Vec<Option<usize>>;

/// Drafts trees of one shape from the draft model: sampled without replacement where verification compares distributions,
/// else the argmax.
pub struct ModelTree {
    sequence: TokenSequence,
    processors: Processors,
    rng: NoiseStream,
    sampled: bool,
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
            rng: Noise::new(config.seed.unwrap()).stream(9),
            sampled: config.verification != Verification::Coupled,
            shape,
        }
    }

    /// The draft model's distribution after a node.
    fn distribution(&mut self, history: &[u32], drafted: &[u32]) -> Result<Distribution<'static>> {
        self.sequence.truncate(0)?;
        let ids = [history, drafted].concat();
        let logits = self.sequence.extend(&ids, 1)?;
        let distribution = self
            .processors
            .distribution(logits.row(0), history, drafted)?;
        Ok(distribution.into_owned())
    }
}

impl Drafter for ModelTree {
    fn propose(&mut self, history: &[u32], limit: DraftLimit) -> Result<Draft> {
        let mut draft = Draft::default();
        for parent in self.shape.clone().into_iter().take(limit.tokens) {
            if history.len() + draft.depth() >= self.sequence.context_length() {
                break;
            }
            let above = parent.map_or_else(Vec::new, |parent| draft.path(parent));
            let mut distribution = Some(self.distribution(history, &above)?);
            for sibling in draft.children(parent).collect::<Vec<_>>() {
                distribution = distribution
                    .and_then(|distribution| distribution.without(draft.tokens()[sibling]));
            }
            // The tree has fewer nodes if siblings have used up all tokens of the distribution.
            let Some(distribution) = distribution else {
                break;
            };
            let (token, distribution) = if self.sampled {
                (self.rng.categorical(&distribution), distribution)
            } else {
                let mut best = (0, 0.0);
                distribution.for_each(|token, p| {
                    if p > best.1 {
                        best = (token, p);
                    }
                });
                (best.0, Distribution::Point(best.0))
            };
            draft.push_child(parent, token, distribution, DraftKind::MODEL);
        }
        Ok(draft)
    }
}

/// Drafts a known text with every `wrong_every`-th token wrong (1 for all).
pub struct Recited {
    pub whole: Vec<u32>,
    pub wrong_every: usize,
    pub vocab_size: u32,
}

impl Drafter for Recited {
    fn propose(&mut self, history: &[u32], limit: DraftLimit) -> Result<Draft> {
        let mut draft = Draft::default();
        for (index, token) in self
            .whole
            .iter()
            .enumerate()
            .skip(history.len())
            .take(limit.tokens)
        {
            let wrong = u32::from(index.is_multiple_of(self.wrong_every));
            let token = (token + wrong) % self.vocab_size;
            draft.push(token, Distribution::Point(token), DraftKind::NGRAM);
        }
        Ok(draft)
    }
}
