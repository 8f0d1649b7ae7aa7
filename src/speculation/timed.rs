//! A source whose tokens take time: how many it should draft, and when it is asked at all.

use std::time::Instant;

use super::acceptance::{Acceptance, Standing};
use super::cost::Costs;
use super::draft::{Candidate, Draft, DraftSource, EVIDENCES, TokenSource};
use super::prospect::{Load, Prospect};
use crate::error::Result;

/// Where a source that takes time doesn't seem to pay, every so many-th step asks it for a token all the same, to notice
/// when it would; more and more rarely, while it goes on not to pay.
const PROBE_EVERY: usize = 32;
const RAREST_PROBE: usize = 256;

/// Share of the time that reading a text only to ask for a token may take.
const MOST_PROBING: f64 = 0.02;

/// A source whose tokens take time.
pub(super) struct Timed {
    pub(super) source: Box<dyn DraftSource>,
    pub(super) kind: TokenSource,
    /// What it drafted for the last step, one behind the other; none where it wasn't asked.
    drafted: Vec<u32>,
    /// Tokens of the text that it has read.
    pub(super) read: usize,
    /// Steps without it, since it was last asked.
    passed_over: usize,
    /// After how many it is asked all the same.
    probe_every: usize,
}

/// What steps cost with such a source, in plain steps.
pub(super) struct TimedCosts<'a> {
    /// The target's pass over 0, 1, 2, ... rows.
    pub(super) passes: &'a [f64],
    /// What it computes for others.
    pub(super) load: Load,
    /// A drafted token.
    pub(super) draft: f64,
    /// Reading what it has missed.
    pub(super) catching_up: f64,
}

impl Timed {
    /// Nothing read yet.
    pub(super) fn new(source: Box<dyn DraftSource>, kind: TokenSource) -> Self {
        Self {
            source,
            kind,
            drafted: Vec::new(),
            read: 0,
            passed_over: 0,
            probe_every: PROBE_EVERY,
        }
    }

    /// Whether it reads what the target has read, and costs little more.
    pub(super) fn reads_along(&self) -> bool {
        !self.source.watched().is_empty()
    }

    /// How many tokens it should draft to be faster than at another rate, and what that promises; `None`: it is not.
    pub(super) fn choose(
        &mut self,
        costs: &TimedCosts<'_>,
        most: usize,
        rate: f64,
        acceptance: &Acceptance,
    ) -> Option<(usize, Prospect)> {
        let mut steps = Vec::with_capacity(most);
        let (mut expected, mut reached) = (1.0, 1.0);
        for tokens in 1..=most {
            reached *= acceptance.rate(self.at(tokens - 1), Standing::Undrafted);
            expected += reached;
            let mut prospect = costs.load.with(expected, tokens + 1, costs.passes);
            // Reading pays for the steps to come, too.
            prospect.cost += costs.draft * tokens as f64 + costs.catching_up / PROBE_EVERY as f64;
            steps.push((tokens, prospect));
        }
        let best = steps
            .iter()
            .copied()
            .max_by(|a, b| a.1.rate().total_cmp(&b.1.rate()));
        if let Some(best) = best.filter(|(_, prospect)| prospect.rate() > rate) {
            self.passed_over = 0;
            self.probe_every = PROBE_EVERY;
            return Some(best);
        }
        self.passed_over += 1;
        let bearable = MOST_PROBING * self.passed_over as f64;
        if self.passed_over < self.probe_every || costs.catching_up > bearable {
            self.drafted.clear();
            return None;
        }
        self.passed_over = 0;
        self.probe_every = (2 * self.probe_every).min(RAREST_PROBE);
        steps.first().copied()
    }

    /// Its draft, and what that cost.
    pub(super) fn propose(
        &mut self,
        history: &[u32],
        tokens: usize,
        costs: &Costs,
    ) -> Result<Draft> {
        if self.drafted.is_empty() {
            // What it missed meanwhile is no cost of this draft's.
            self.catch_up(&history[..history.len() - 1], costs)?;
        }
        let began = Instant::now();
        let draft = self.source.propose(history, tokens)?;
        self.drafted = draft.first_chain().to_vec();
        let seconds = began.elapsed().as_secs_f64();
        costs.observe_draft(self.kind, self.drafted.len(), seconds);
        self.read = history.len() - 1;
        Ok(draft)
    }

    /// Reads on in a text.
    pub(super) fn catch_up(&mut self, text: &[u32], costs: &Costs) -> Result<()> {
        let began = Instant::now();
        self.source.read(text)?;
        let new = text.len().saturating_sub(self.read);
        costs.observe_read(self.kind, new, began.elapsed().as_secs_f64());
        self.read = text.len();
        Ok(())
    }

    /// Learns from what the target wrote. Tokens behind the first that it wrote otherwise say nothing.
    pub(super) fn learn(&self, written: &[u32], acceptance: &mut Acceptance) {
        for (position, (drafted, written)) in self.drafted.iter().zip(written).enumerate() {
            let right = drafted == written;
            acceptance.observe(self.at(position), Standing::Undrafted, right);
            if !right {
                return;
            }
        }
    }

    /// What is known of its token at a position of a draft, before that is drafted.
    fn at(&self, position: usize) -> Candidate {
        Candidate {
            token: 0,
            source: self.kind,
            evidence: position.min(EVIDENCES - 1) as u8,
            prior: 0.6,
        }
    }
}
