//! Which source drafts a step, and how many tokens: what the costs and the acceptance so far make the fastest, none included.
//!
//! A step that drafts n tokens, of which the k-th is accepted with probability `S_k` (those before it included), writes
//! `1 + S_1 + ... + S_n` tokens in expectation, and costs the drafting and a pass over n + 1 rows.

use super::acceptance::{Acceptance, SharedAcceptance};
use super::cost::Costs;
use super::draft::Prospect;

/// Longest draft: bounds the memory that a step's logits take.
const MOST_DRAFTED: usize = 256;

/// Where no draft seems to pay, every so many-th step drafts a token all the same, to notice when one would.
const PROBE_EVERY: usize = 32;

/// How much faster a draft must promise to be: estimates err, and those that err upwards are chosen.
const MARGIN: f64 = 1.02;

/// Chooses each step's draft for one request.
#[derive(Debug, Clone)]
pub struct Controller {
    gamma: usize,
    adaptive: bool,
    costs: Costs,
    acceptance: Acceptance,
    /// Steps since the last draft, while there were prospects.
    declined: usize,
}

/// What was chosen for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Which of the sources; `None`: no draft.
    pub source: Option<usize>,
    /// How many tokens.
    pub tokens: usize,
}

impl Choice {
    const PLAIN: Self = Self {
        source: None,
        tokens: 0,
    };
}

impl Controller {
    /// Exactly `gamma` tokens a step; or, if `adaptive`, at most so many. A `gamma` above 256 counts as 256.
    pub fn new(gamma: usize, adaptive: bool, costs: &Costs, shared: &SharedAcceptance) -> Self {
        Self {
            gamma: gamma.min(MOST_DRAFTED),
            adaptive,
            costs: costs.clone(),
            acceptance: Acceptance::new(shared),
            declined: 0,
        }
    }

    /// Chooses among the sources' prospects, behind so many tokens, with room for so many more.
    pub fn choose(&mut self, prospects: &[Prospect], context: usize, room: usize) -> Choice {
        let first = prospects.iter().position(|prospect| prospect.tokens > 0);
        let most = |prospect: &Prospect| prospect.tokens.min(self.gamma).min(room);
        let Some(first) = first.filter(|first| most(&prospects[*first]) > 0) else {
            return Choice::PLAIN;
        };
        if !self.adaptive {
            return Choice {
                source: Some(first),
                tokens: most(&prospects[first]),
            };
        }
        let longest = prospects.iter().map(most).max().unwrap_or(0);
        let passes = self.costs.relative(context, longest + 1);
        let mut best = (MARGIN, Choice::PLAIN);
        for (index, prospect) in prospects.iter().enumerate() {
            let draft = self.costs.draft(context, prospect.source);
            let mut reached = 1.0;
            let mut expected = 1.0;
            for tokens in 1..=most(prospect) {
                let evidence = prospect.evidence + tokens - 1;
                reached *= self.acceptance.rate(prospect.source, evidence);
                expected += reached;
                let cost = passes[tokens + 1] + draft * tokens as f64;
                if expected / cost > best.0 {
                    let source = Some(index);
                    best = (expected / cost, Choice { source, tokens });
                }
            }
        }
        if best.1 == Choice::PLAIN {
            self.declined += 1;
            if self.declined.is_multiple_of(PROBE_EVERY) {
                return Choice {
                    source: Some(first),
                    tokens: 1,
                };
            }
        } else {
            self.declined = 0;
        }
        best.1
    }

    /// Learns how much of a draft was accepted.
    pub fn observe(&mut self, prospect: &Prospect, drafted: usize, accepted: usize) {
        self.acceptance
            .observe(prospect.source, prospect.evidence, drafted, accepted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speculation::TokenSource;

    /// A controller for passes that cost so much more with every row.
    fn controller(gamma: usize, adaptive: bool, slope: f64) -> Controller {
        let costs = Costs::default();
        for rows in 1..=17 {
            costs.observe_pass(0, rows, 1.0 + slope * (rows - 1) as f64);
        }
        Controller::new(gamma, adaptive, &costs, &SharedAcceptance::default())
    }

    fn prospect(source: TokenSource, tokens: usize) -> Prospect {
        Prospect {
            source,
            tokens,
            evidence: 0,
        }
    }

    /// Steps of a source whose tokens are accepted at a rate, after which the length is settled.
    fn settled(controller: &mut Controller, rate: f64) -> usize {
        let prospect = prospect(TokenSource::Ngram, 16);
        let mut state = 1_u64;
        for _ in 0..400 {
            let tokens = controller.choose(&[prospect], 0, 100).tokens;
            let accepted = (0..tokens).take_while(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (((state >> 33) % 1000) as f64) < 1000.0 * rate
            });
            let accepted = accepted.count();
            if tokens > 0 {
                controller.observe(&prospect, tokens, accepted);
            }
        }
        controller.choose(&[prospect], 0, 100).tokens
    }

    #[test]
    fn length_follows_costs_and_acceptance() {
        let length = |rate, slope| settled(&mut controller(16, true, slope), rate);
        // Where rows cost nothing every one pays; where they cost as much as a pass, none does.
        assert_eq!(length(0.7, 0.0), 16);
        assert_eq!(length(0.7, 1.0), 0);
        let (low, high) = (length(0.5, 0.15), length(0.9, 0.15));
        assert!((1..=3).contains(&low), "{low}");
        assert!((4..=10).contains(&high), "{high}");
    }

    #[test]
    fn a_source_that_is_always_wrong_is_hardly_asked() {
        let mut controller = controller(8, true, 0.2);
        settled(&mut controller, 0.0);
        let prospect = prospect(TokenSource::Ngram, 8);
        let asked = (0..320).filter(|_| {
            let tokens = controller.choose(&[prospect], 0, 100).tokens;
            controller.observe(&prospect, tokens, 0);
            tokens > 0
        });
        assert!((5..=15).contains(&asked.count()));
    }

    #[test]
    fn the_better_source_is_chosen() {
        let mut controller = controller(8, true, 0.1);
        let prospects = [
            prospect(TokenSource::Ngram, 8),
            prospect(TokenSource::Model, 8),
        ];
        for _ in 0..40 {
            controller.observe(&prospects[0], 1, 0);
            controller.observe(&prospects[1], 1, 1);
        }
        assert_eq!(controller.choose(&prospects, 0, 100).source, Some(1));
        assert_eq!(controller.choose(&prospects[..1], 0, 100).source, None);
    }

    #[test]
    fn fixed_lengths_stay_and_none_is_none() {
        let prospect = prospect(TokenSource::Ngram, 9);
        let mut fixed = controller(5, false, 9.0);
        assert_eq!(fixed.choose(&[prospect], 0, 100).tokens, 5);
        assert_eq!(fixed.choose(&[prospect], 0, 3).tokens, 3);
        let mut off = controller(0, true, 0.0);
        assert_eq!(off.choose(&[prospect], 0, 100), Choice::PLAIN);
        assert_eq!(fixed.choose(&[], 0, 100), Choice::PLAIN);
    }
}
