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
        if plan.speedup < MARGIN {
            plan = Plan::default();
        }
        let Some(timed) = &mut self.source else {
            return Ok(plan.draft);
        };
        let cost = self.costs.draft(context, timed.kind);
        let speedup = plan.speedup.max(MARGIN);
        match timed.tokens(&passes, tokens, cost, speedup, acceptance) {
            0 => Ok(plan.draft),
            tokens => timed.source.propose(history, tokens),
        }
    }

    /// What a step without a draft takes behind such a text; `None` where none was measured.
    pub fn plain_step(&self, history: &[u32]) -> Option<Duration> {
        let seconds = self.costs.plain_step(history.len() - 1);
        seconds.map(Duration::from_secs_f64)
    }

    /// What a step with a draft of so many tokens costs behind such a text, in plain steps, the drafting not included.
    pub fn cost(&self, history: &[u32], drafted: usize) -> f64 {
        self.costs.relative(history.len() - 1, drafted + 1)[drafted + 1]
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

impl Timed {
    /// How many tokens it should draft, to be faster than another way; 0: none.
    fn tokens(
        &mut self,
        passes: &[f64],
        most: usize,
        cost: f64,
        mut speedup: f64,
        acceptance: &Acceptance,
    ) -> usize {
        let (mut best, mut expected, mut reached) = (0, 1.0, 1.0);
        for tokens in 1..=most {
            reached *= acceptance.rate(self.at(tokens - 1), Standing::Any);
            expected += reached;
            let ratio = expected / (passes[tokens + 1] + cost * tokens as f64);
            if ratio > speedup {
                (best, speedup) = (tokens, ratio);
            }
        }
        if best > 0 {
            self.passed_over = 0;
            self.probe_every = PROBE_EVERY;
            return best;
        }
        self.passed_over += 1;
        if self.passed_over < self.probe_every {
            return 0;
        }
        self.passed_over = 0;
        self.probe_every = (2 * self.probe_every).min(RAREST_PROBE);
        1
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
