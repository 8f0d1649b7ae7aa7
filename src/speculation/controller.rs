//! What a step drafts: what the costs and the acceptance so far make the fastest, nothing included.
//!
//! A step whose drafted tokens the target reaches with probabilities `S_1`, `S_2`, ... writes `1 + S_1 + S_2 + ...` tokens in
//! expectation, and costs the drafting and a pass over one row more than they are.

use std::time::Duration;

use super::acceptance::{Acceptance, Standing};
use super::cost::Costs;
use super::draft::{Candidate, Draft, DraftSource, EVIDENCES, TokenSource};
use super::lookups::{Limit, Lookups, Plan};
use crate::error::Result;

/// Longest draft: bounds the memory that a step's logits take.
const MOST_DRAFTED: usize = 256;

/// Where a source that takes time doesn't seem to pay, every so many-th step asks it for a token all the same, to notice
/// when it would; more and more rarely, while it goes on not to pay.
const PROBE_EVERY: usize = 32;
const RAREST_PROBE: usize = 256;

/// How much faster a draft must promise to be: estimates err, and those that err upwards are chosen.
const MARGIN: f64 = 1.02;

/// The sources of one request, and the choice among them.
pub struct Controller {
    gamma: usize,
    adaptive: bool,
    costs: Costs,
    acceptance: Acceptance,
    lookups: Lookups,
    source: Option<Timed>,
    predicted: Predicted,
}

/// What was expected of the steps so far.
#[derive(Debug, Clone, Copy, Default)]
struct Predicted {
    tokens: f64,
    /// In plain steps.
    cost: f64,
}

/// A source whose tokens take time.
struct Timed {
    source: Box<dyn DraftSource>,
    kind: TokenSource,
    /// Steps without it, since it was last asked.
    passed_over: usize,
    /// After how many it is asked all the same.
    probe_every: usize,
}

impl Controller {
    /// Drafts exactly `gamma` tokens a step; or, if `adaptive`, at most so many. A `gamma` above 256 counts as 256.
    pub fn new(
        gamma: usize,
        adaptive: bool,
        costs: &Costs,
        acceptance: Acceptance,
        lookups: Lookups,
    ) -> Self {
        Self {
            gamma: gamma.min(MOST_DRAFTED),
            adaptive,
            costs: costs.clone(),
            acceptance,
            lookups,
            source: None,
            predicted: Predicted::default(),
        }
    }

    /// Adds a source whose tokens take time.
    #[must_use]
    pub fn with_source(mut self, source: Box<dyn DraftSource>, kind: TokenSource) -> Self {
        self.source = Some(Timed {
            source,
            kind,
            passed_over: 0,
            probe_every: PROBE_EVERY,
        });
        self
    }

    /// Reads a prompt, or more of it.
    pub fn read(&mut self, prompt: &[u32]) -> Result<()> {
        self.lookups.read(prompt)?;
        match &mut self.source {
            Some(timed) => timed.source.read(prompt),
            None => Ok(()),
        }
    }

    /// The draft of a step, with room for so many tokens, of such as may follow those before them.
    pub fn propose(
        &mut self,
        history: &[u32],
        room: usize,
        trees: bool,
        permitted: impl FnMut(&[u32]) -> Result<bool>,
    ) -> Result<Draft> {
        let tokens = self.gamma.min(room);
        if tokens == 0 {
            return Ok(Draft::default());
        }
        let context = history.len() - 1;
        if !self.adaptive {
            if let Some(timed) = &mut self.source {
                return timed.source.propose(history, tokens);
            }
            let limit = Limit {
                tokens,
                chain: true,
            };
            let free = vec![1.0; tokens + 2];
            let plan = self
                .lookups
                .grow(&free, limit, &self.acceptance, permitted)?;
            return Ok(plan.draft);
        }
        let passes = self.costs.relative(context, tokens + 1);
        let limit = Limit {
            tokens,
            chain: !trees,
        };
        let acceptance = &self.acceptance;
        let mut plan = self.lookups.grow(&passes, limit, acceptance, permitted)?;
        if plan.speedup() < MARGIN {
            plan = Plan::plain();
        }
        if let Some(timed) = &mut self.source {
            let cost = self.costs.draft(context, timed.kind);
            let speedup = plan.speedup().max(MARGIN);
            if let Some(choice) = timed.choose(&passes, tokens, cost, speedup, acceptance) {
                plan = Plan {
                    draft: timed.source.propose(history, choice.tokens)?,
                    expected: choice.expected,
                    cost: choice.cost,
                };
            }
        }
        self.predicted.tokens += plan.expected;
        self.predicted.cost += plan.cost;
        Ok(plan.draft)
    }

    /// The speedup that was expected of the steps so far; `None` before any that was chosen.
    pub fn predicted_speedup(&self) -> Option<f64> {
        let Predicted { tokens, cost } = self.predicted;
        (cost > 0.0).then_some(tokens / cost)
    }

    /// What a step without a draft takes behind such a text; `None` where none was measured.
    pub fn plain_step(&self, history: &[u32]) -> Option<Duration> {
        let seconds = self.costs.plain_step(history.len() - 1);
        seconds.map(Duration::from_secs_f64)
    }

    /// Learns how long it took to draft behind such a text, and to verify.
    pub fn time(&self, history: &[u32], draft: &Draft, [drafting, verifying]: [Duration; 2]) {
        let (context, rows) = (history.len() - 1, draft.len() + 1);
        let seconds = verifying.as_secs_f64();
        self.costs.observe_pass(context, rows, seconds);
        if let Some(timed) = self.source.as_ref().filter(|timed| timed.made(draft)) {
            let seconds = drafting.as_secs_f64();
            self.costs.observe_draft(timed.kind, draft.len(), seconds);
        }
    }

    /// Learns what a draft was worth, of which so many tokens were accepted. The last tokens of the history are new: as many
    /// as there are rows of logits, by which they were chosen.
    pub fn learn(
        &mut self,
        history: &[u32],
        rows: &[&[f32]],
        draft: &Draft,
        accepted: usize,
    ) -> Result<()> {
        if let Some(timed) = self.source.as_ref().filter(|timed| timed.made(draft)) {
            timed.learn(draft.depth(), accepted, &mut self.acceptance);
        }
        self.lookups.learn(history, rows, &mut self.acceptance)
    }
}

/// A draft of such a source, before it is made.
#[derive(Debug, Clone, Copy)]
struct TimedChoice {
    tokens: usize,
    expected: f64,
    cost: f64,
}

impl TimedChoice {
    fn speedup(self) -> f64 {
        self.expected / self.cost
    }
}

impl Timed {
    /// How many tokens it should draft to be faster than another way; `None`: it is not.
    fn choose(
        &mut self,
        passes: &[f64],
        most: usize,
        cost: f64,
        speedup: f64,
        acceptance: &Acceptance,
    ) -> Option<TimedChoice> {
        let mut steps = Vec::with_capacity(most);
        let (mut expected, mut reached) = (1.0, 1.0);
        for tokens in 1..=most {
            reached *= acceptance.rate(self.at(tokens - 1), Standing::Any);
            expected += reached;
            let cost = passes[tokens + 1] + cost * tokens as f64;
            steps.push(TimedChoice {
                tokens,
                expected,
                cost,
            });
        }
        let faster = |a: &TimedChoice, b: &TimedChoice| a.speedup().total_cmp(&b.speedup());
        let best = steps.iter().copied().max_by(faster);
        if let Some(best) = best.filter(|best| best.speedup() > speedup) {
            self.passed_over = 0;
            self.probe_every = PROBE_EVERY;
            return Some(best);
        }
        self.passed_over += 1;
        if self.passed_over < self.probe_every {
            return None;
        }
        self.passed_over = 0;
        self.probe_every = (2 * self.probe_every).min(RAREST_PROBE);
        steps.first().copied()
    }

    /// Whether it made a draft.
    fn made(&self, draft: &Draft) -> bool {
        !draft.is_empty() && draft.source(0) == self.kind
    }

    /// Learns from a draft. Tokens behind the first rejection were not verified, and say nothing.
    fn learn(&self, drafted: usize, accepted: usize, acceptance: &mut Acceptance) {
        for position in 0..drafted.min(accepted + 1) {
            let candidate = self.at(position);
            let right = position < accepted;
            acceptance.observe(candidate, Standing::Any, right);
        }
    }

    /// What is known of its token at a position of a draft.
    fn at(&self, position: usize) -> Candidate {
        Candidate {
            token: 0,
            source: self.kind,
            evidence: position.min(EVIDENCES - 1) as u8,
            prior: 0.6,
        }
    }
}
