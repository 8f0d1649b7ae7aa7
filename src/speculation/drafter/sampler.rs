//! How a draft's tokens are drawn from logits.

use crate::error::{Error, Result};
use crate::sampling::{Distribution, Noise, NoiseStream, Processors, Rng, top_k};
use crate::settings::DraftKind;
use crate::speculation::acceptance::Rank;
use crate::speculation::{Acceptance, Candidate, Draft};

/// The number of most probable tokens among which alternatives are looked for: the noise rarely chooses others.
const POOL: usize = 16;

/// The maximum number of alternatives to a drawn token.
const ALTERNATIVES: usize = 3;

/// The buckets of a draw's confidence: the lead of the drawn token over the next one, or over an alternative, in steps of a
/// half (of logits over the temperature, noise included).
const LEADS: u8 = 16;
const LEADS_PER_UNIT: f64 = 2.0;

/// How tokens are drawn from the draft model's distributions.
pub enum Drawing {
    /// With the noise that the target will choose with: the drafted token is determined, not drawn.
    Coupled(Noise),
    /// With random numbers of its own, for verification that compares p with q.
    Independent(NoiseStream),
}

impl Drawing {
    /// A token for a position, and the distribution that verification has to know.
    fn draw(
        &mut self,
        distribution: Distribution<'_>,
        position: usize,
    ) -> (u32, Distribution<'static>) {
        match self {
            Self::Coupled(noise) => {
                let token = noise.choose(position, &distribution);
                (token, Distribution::Point(token))
            }
            Self::Independent(rng) => (rng.categorical(&distribution), distribution.into_owned()),
        }
    }
}

/// Draws tokens with the request's own processors.
pub struct Sampler {
    processors: Processors,
    drawing: Drawing,
    /// The target's number of tokens.
    vocab_size: usize,
    /// What the planner chooses by; `None`: it does not choose.
    scores: Option<Scores>,
}

/// What is known of a draft's tokens beyond the tokens.
struct Scores {
    /// The alternatives to the chain's tokens, each with its parent.
    alternatives: Vec<(Option<usize>, Candidate)>,
    /// How often such tokens were right.
    acceptance: Acceptance,
    /// The probability that all tokens drafted so far are right.
    right: f64,
}

impl Sampler {
    /// For one request. `vocab_size` is the target's.
    pub fn new(processors: Processors, drawing: Drawing, vocab_size: usize) -> Self {
        Self {
            processors,
            drawing,
            vocab_size,
            scores: None,
        }
    }

    /// Records the confidence and the alternatives of each draw, and how probable it is that all are right; only with the target's
    /// noise.
    #[must_use]
    pub fn with_alternatives(self, acceptance: Acceptance) -> Self {
        Self {
            scores: Some(Scores {
                alternatives: Vec::new(),
                acceptance,
                right: 1.0,
            }),
            ..self
        }
    }

    /// The probability that the next token would be right, and all that were drawn before it, so many; 1 if it is not known.
    pub(super) fn expects(&mut self, drawn: usize) -> f64 {
        match (&mut self.scores, &self.drawing) {
            (Some(scores), Drawing::Coupled(_)) => {
                let next = Candidate::undrafted(DraftKind::MODEL, drawn);
                scores.right * scores.acceptance.lock().rate(next, Rank::Undrafted)
            }
            _ => 1.0,
        }
    }

    /// The target's number of tokens.
    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Draws a token from logits of the target's tokens, adds it to the chain and returns it. `None` if no token is possible: after
    /// tokens that the target can never generate or its format cannot follow, or if the draft model's logits are not finite.
    pub(super) fn draw(
        &mut self,
        logits: &[f32],
        history: &[u32],
        draft: &mut Draft,
    ) -> Result<Option<u32>> {
        let distribution = match self
            .processors
            .distribution(logits, history, draft.tokens())
        {
            Err(Error::NoToken { .. } | Error::InvalidConfig { .. }) => return Ok(None),
            distribution => distribution?,
        };
        let position = history.len() + draft.len();
        if let (Some(scores), Drawing::Coupled(noise)) = (&mut self.scores, &self.drawing) {
            let parent = draft.len().checked_sub(1);
            let (drawn, others) = score_candidates(logits, &distribution, *noise, position);
            let others = others.into_iter().map(|other| (parent, other));
            scores.alternatives.extend(others);
            if parent.is_none() {
                scores.right = 1.0;
            }
            scores.right *= scores.acceptance.lock().rate(drawn, Rank::Any);
            draft.push_candidate(parent, drawn);
            return Ok(Some(drawn.token));
        }
        let (token, distribution) = self.drawing.draw(distribution, position);
        draft.push(token, distribution, DraftKind::MODEL);
        Ok(Some(token))
    }

    /// Adds the recorded alternatives to the draft.
    pub(super) fn widen(&mut self, draft: &mut Draft) {
        let recorded = self.scores.iter_mut();
        for (parent, candidate) in recorded.flat_map(|scores| scores.alternatives.drain(..)) {
            draft.push_candidate(parent, candidate);
        }
    }
}

/// The token that the noise chooses, and its alternatives, with their leads as features.
fn score_candidates(
    logits: &[f32],
    distribution: &Distribution<'_>,
    noise: Noise,
    position: usize,
) -> (Candidate, Vec<Candidate>) {
    let drawn = noise.choose(position, distribution);
    let score = |token: u32| match distribution {
        Distribution::Point(_) => Some(f64::from(logits[token as usize])),
        distribution => Some(distribution.log_weight(token)? + noise.gumbel(position, token)),
    };
    let first = score(drawn).unwrap_or(f64::NEG_INFINITY);
    let pool = top_k(logits, POOL).into_iter();
    let others = pool.filter(|token| *token != drawn);
    let others = others.filter_map(|token| Some((token, first - score(token)?)));
    let mut others: Vec<(u32, f64)> = others.filter(|(_, gap)| gap.is_finite()).collect();
    others.sort_by(|a, b| a.1.total_cmp(&b.1));
    others.truncate(ALTERNATIVES);
    let lead = others.first().map_or(f64::INFINITY, |(_, gap)| *gap);
    let others = others.into_iter().map(|(token, gap)| Candidate {
        token,
        source: DraftKind::MODEL,
        feature: LEADS + steps(gap),
        prior: 0.4 * (-gap.max(0.0) / 2.0).exp(),
    });
    let drawn = Candidate {
        token: drawn,
        source: DraftKind::MODEL,
        feature: steps(lead),
        prior: 0.95 - 0.55 * (-lead.max(0.0) / 2.0).exp(),
    };
    (drawn, others.collect())
}

/// The bucket of a lead, below [`LEADS`].
fn steps(lead: f64) -> u8 {
    // The cast turns a negative lead into 0: penalties may lower a token with a high logit.
    ((lead * LEADS_PER_UNIT) as u8).min(LEADS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SpeculativeConfig;
    use crate::speculation::acceptance::SharedAcceptance;

    fn draw(temperature: f64, logits: &[f32]) -> Draft {
        let config = SpeculativeConfig {
            temperature,
            ..SpeculativeConfig::default()
        };
        let processors = Processors::new(&config, 1, None);
        let drawing = Drawing::Coupled(Noise::new(3));
        let sampler = Sampler::new(processors, drawing, logits.len());
        let acceptance = Acceptance::new(&SharedAcceptance::default(), temperature == 0.0);
        let mut sampler = sampler.with_alternatives(acceptance);
        let mut draft = Draft::default();
        for _ in 0..2 {
            sampler.draw(logits, &[0], &mut draft).unwrap();
        }
        sampler.widen(&mut draft);
        draft
    }

    #[test]
    fn alternatives_follow_the_chain_by_their_distance() {
        let draft = draw(0.0, &[0.0, 9.0, 1.0, 8.0, 7.0]);
        assert_eq!(draft.tokens(), [1, 1, 3, 4, 2, 3, 4, 2]);
        let parents = [None, Some(0), None, None, None, Some(0), Some(0), Some(0)];
        assert_eq!(draft.parents(), parents);
        let feature: Vec<u8> = (1..5).map(|node| draft.candidate(node).feature).collect();
        assert_eq!(feature, [2, LEADS + 2, LEADS + 4, LEADS + 15]);
        let surer = draw(0.0, &[0.0, 9.0, 1.0]).candidate(0);
        assert_eq!(surer.feature, LEADS - 1);
        assert!(surer.prior > draft.candidate(0).prior);
    }

    #[test]
    fn leads_include_the_noise() {
        let draft = draw(1.0, &[1.0, 1.25, 1.5, 1.125]);
        let noise = Noise::new(3);
        for (node, parent) in draft.parents().iter().enumerate() {
            let position = 1 + parent.map_or(0, |parent| parent + 1);
            let score = |token: u32| {
                [1.0, 1.25, 1.5, 1.125][token as usize] + noise.gumbel(position, token)
            };
            let (token, feature) = (draft.tokens()[node], draft.candidate(node).feature);
            let first = draft.children(*parent).next().unwrap();
            let gap = score(draft.tokens()[first]) - score(token);
            assert!(gap >= 0.0);
            if node != first {
                assert_eq!(feature, LEADS + (2.0 * gap).min(15.0) as u8);
            }
        }
    }
}
