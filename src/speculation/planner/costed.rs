//! A drafter with its cost: how many tokens it should draft, and when it is asked at all.

use std::time::Instant;

use super::acceptance::{Observations, Rank};
use super::cost::Costs;
use super::estimate::{Load, StepEstimate};
use crate::error::Result;
use crate::settings::DraftKind;
use crate::speculation::candidate::MAX_FEATURES;
use crate::speculation::{Candidate, Draft, Drafter};

/// A drafter that does not seem to pay is probed for one token every so many steps, to notice when it would; the interval
/// doubles while it does not, up to the maximum.
const PROBE_EVERY: usize = 32;
const MAX_PROBE_INTERVAL: usize = 256;

/// Share of the time that prefilling for a probe may take.
const MAX_PROBING: f64 = 0.02;

/// A drafter whose tokens take time, and what is known about it.
pub(super) struct CostedDrafter {
    pub(super) drafter: Box<dyn Drafter>,
    pub(super) kind: DraftKind,
    /// What it drafted for the last step, one after the other; none if it was not asked.
    drafted: Vec<u32>,
    /// Tokens of the text that it has prefilled.
    pub(super) prefilled: usize,
    /// Steps since it was last asked.
    passed_over: usize,
    /// Steps after which it is probed.
    probe_every: usize,
}

/// What steps cost with the drafter, in plain steps.
pub(super) struct StepCosts<'a> {
    /// The target's pass over 0, 1, 2, ... rows.
    pub(super) passes: &'a [f64],
    /// What the pass computes for other requests.
    pub(super) load: Load,
    /// A drafted token.
    pub(super) draft: f64,
    /// Prefilling what it has missed.
    pub(super) catching_up: f64,
}

impl CostedDrafter {
    /// With nothing prefilled.
    pub(super) fn new(drafter: Box<dyn Drafter>, kind: DraftKind) -> Self {
        Self {
            drafter,
            kind,
            drafted: Vec::new(),
            prefilled: 0,
            passed_over: 0,
            probe_every: PROBE_EVERY,
        }
    }

    /// Whether it reads the target's hidden states, so that following the text costs little.
    pub(super) fn captures_hidden(&self) -> bool {
        !self.drafter.captured_layers().is_empty()
    }

    /// How many tokens it should draft to beat a rate, and the estimate of that; `None`: it does not.
    pub(super) fn choose(
        &mut self,
        costs: &StepCosts<'_>,
        most: usize,
        rate: f64,
        acceptance: &Observations<'_>,
    ) -> Option<(usize, StepEstimate)> {
        let mut steps = Vec::with_capacity(most);
        let (mut expected, mut reached) = (1.0, 1.0);
        for tokens in 1..=most {
            reached *= acceptance.rate(self.at(tokens - 1), Rank::Undrafted);
            expected += reached;
            let mut estimate = costs.load.with(expected, tokens + 1, costs.passes);
            // What is prefilled serves later steps, too.
            estimate.cost += costs.draft * tokens as f64 + costs.catching_up / PROBE_EVERY as f64;
            steps.push((tokens, estimate));
        }
        let best = steps
            .iter()
            .copied()
            .max_by(|a, b| a.1.rate().total_cmp(&b.1.rate()));
        if let Some(best) = best.filter(|(_, estimate)| estimate.rate() > rate) {
            self.passed_over = 0;
            self.probe_every = PROBE_EVERY;
            return Some(best);
        }
        self.passed_over += 1;
        let bearable = MAX_PROBING * self.passed_over as f64;
        if self.passed_over < self.probe_every || costs.catching_up > bearable {
            self.drafted.clear();
            return None;
        }
        self.passed_over = 0;
        self.probe_every = (2 * self.probe_every).min(MAX_PROBE_INTERVAL);
        steps.first().copied()
    }

    /// Its draft, whose cost is observed.
    pub(super) fn propose(
        &mut self,
        history: &[u32],
        tokens: usize,
        costs: &Costs,
    ) -> Result<Draft> {
        if self.drafted.is_empty() {
            // Catching up is not part of the draft's cost.
            self.catch_up(&history[..history.len() - 1], costs)?;
        }
        let began = Instant::now();
        let draft = self.drafter.propose(history, tokens)?;
        self.drafted = draft.first_chain().to_vec();
        let seconds = began.elapsed().as_secs_f64();
        costs.observe_draft(self.kind, self.drafted.len(), seconds);
        self.prefilled = history.len() - 1;
        Ok(draft)
    }

    /// Prefills what is new in a text.
    pub(super) fn catch_up(&mut self, text: &[u32], costs: &Costs) -> Result<()> {
        let began = Instant::now();
        self.drafter.prefill(text)?;
        let new = text.len().saturating_sub(self.prefilled);
        costs.observe_prefill(self.kind, new, began.elapsed().as_secs_f64());
        self.prefilled = text.len();
        Ok(())
    }

    /// Learns from what the target generated. Tokens after the first mismatch say nothing.
    pub(super) fn learn(&self, written: &[u32], acceptance: &mut Observations<'_>) {
        for (position, (drafted, written)) in self.drafted.iter().zip(written).enumerate() {
            let right = drafted == written;
            acceptance.observe(self.at(position), Rank::Undrafted, right);
            if !right {
                return;
            }
        }
    }

    /// What is known of its token at a position, before that is drafted.
    fn at(&self, position: usize) -> Candidate {
        Candidate {
            token: 0,
            source: self.kind,
            feature: position.min(MAX_FEATURES - 1) as u8,
            prior: 0.6,
        }
    }
}
