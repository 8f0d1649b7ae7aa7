//! A drafter with its cost: how many tokens it should draft, and when it should draft at all.

use std::time::Instant;

use super::cost::Costs;
use super::estimate::{Load, StepEstimate};
use crate::error::Result;
use crate::settings::DraftKind;
use crate::speculation::acceptance::{Observations, Rank};
use crate::speculation::{Candidate, Draft, DraftLimit, Drafter};

/// A drafter that does not seem worth its cost drafts one token after this number of steps, to notice a change; the
/// interval doubles up to the maximum for as long as nothing changes. With a drafted token of 0.2 plain steps and a row of 0.1,
/// probing costs at most 0.3 / 32, about 1 %, and 0.1 % in the long run (`benches/controller.py --hopeless` measures it).
const PROBE_EVERY: usize = 32;
const MAX_PROBE_INTERVAL: usize = 256;

/// The maximum share of time for prefilling before a probe: with the probes themselves, a hopeless draft costs less than 3 %.
const MAX_PROBING: f64 = 0.02;

/// More new tokens than a step adds: the drafter begins again.
const MAX_NEW: usize = 64;

/// A drafter whose tokens take time, and its state.
pub(super) struct CostedDrafter {
    pub(super) drafter: Box<dyn Drafter>,
    pub(super) kind: DraftKind,
    /// The chain that it drafted for the last step; empty if it did not draft.
    drafted: Vec<u32>,
    /// The number of the text's tokens that it has prefilled.
    pub(super) prefilled: usize,
    /// Steps since it last drafted.
    skipped_steps: usize,
    /// Skipped steps after which it is probed.
    probe_every: usize,
}

/// The costs of a step with the drafter, in plain steps.
pub(super) struct StepCosts<'a> {
    /// The target's pass over 0, 1, 2, ... rows.
    pub(super) passes: &'a [f64],
    /// What the pass computes for other requests.
    pub(super) load: Load,
    /// A drafted token.
    pub(super) draft: f64,
    /// Prefilling the tokens that it has not seen.
    pub(super) catching_up: f64,
}

impl CostedDrafter {
    /// Starts with nothing prefilled.
    pub(super) fn new(drafter: Box<dyn Drafter>, kind: DraftKind) -> Self {
        Self {
            drafter,
            kind,
            drafted: Vec::new(),
            prefilled: 0,
            skipped_steps: 0,
            probe_every: PROBE_EVERY,
        }
    }

    /// Whether it uses the target's hidden states.
    pub(super) fn captures_hidden(&self) -> bool {
        !self.drafter.captured_layers().is_empty()
    }

    /// Whether it is expected to beat a rate once it has read the text.
    pub(super) fn beats(
        &self,
        rate: f64,
        costs: &StepCosts<'_>,
        max_tokens: usize,
        acceptance: &Observations<'_>,
    ) -> bool {
        let mut steps = self.estimates(costs, max_tokens, acceptance).into_iter();
        steps.any(|(_, estimate)| estimate.rate() > rate)
    }

    /// How many of a text's tokens it has yet to read.
    pub(super) fn unread(&self, tokens: usize) -> usize {
        let new = tokens.saturating_sub(self.prefilled);
        self.drafter.unread(tokens).unwrap_or(new)
    }

    /// The estimates of steps for which it drafts 1, 2, ... tokens.
    fn estimates(
        &self,
        costs: &StepCosts<'_>,
        max_tokens: usize,
        acceptance: &Observations<'_>,
    ) -> Vec<(usize, StepEstimate)> {
        let mut steps = Vec::with_capacity(max_tokens);
        let (mut expected, mut reached) = (1.0, 1.0);
        for tokens in 1..=max_tokens {
            reached *= acceptance.rate(self.at(tokens - 1), Rank::Undrafted);
            expected += reached;
            let mut estimate = costs.load.with(expected, tokens + 1, costs.passes);
            // The prefill serves later steps, too.
            let drafting = costs.draft * self.paid_tokens(tokens) as f64;
            estimate.cost += drafting + costs.catching_up / PROBE_EVERY as f64;
            steps.push((tokens, estimate));
        }
        steps
    }

    /// The number of tokens that it should draft to beat a rate, or for a probe, with the estimate; `None`: it should not draft.
    pub(super) fn choose(
        &mut self,
        costs: &StepCosts<'_>,
        max_tokens: usize,
        rate: f64,
        acceptance: &Observations<'_>,
    ) -> Option<(usize, StepEstimate)> {
        let steps = self.estimates(costs, max_tokens, acceptance);
        let best = steps
            .iter()
            .copied()
            .max_by(|a, b| a.1.rate().total_cmp(&b.1.rate()));
        if let Some(best) = best.filter(|(_, estimate)| estimate.rate() > rate) {
            self.skipped_steps = 0;
            self.probe_every = PROBE_EVERY;
            return Some(best);
        }
        self.skipped_steps += 1;
        let affordable = MAX_PROBING * self.skipped_steps as f64;
        if self.skipped_steps < self.probe_every || costs.catching_up > affordable {
            self.drafted.clear();
            return None;
        }
        self.skipped_steps = 0;
        self.probe_every = (2 * self.probe_every).min(MAX_PROBE_INTERVAL);
        steps.first().copied()
    }

    /// The tokens whose cost a draft of so many has: those of whole passes.
    pub(super) fn paid_tokens(&self, drafted: usize) -> usize {
        drafted.next_multiple_of(self.drafter.tokens_a_pass().max(1))
    }

    /// The probability of being right below which a further token costs more than it gives, at this rate: its own pass, where it
    /// needs one, and its row.
    pub(super) fn worth(&self, costs: &StepCosts<'_>, tokens: usize, rate: f64) -> f64 {
        let pass = match self.drafter.tokens_a_pass() {
            1 => costs.draft,
            _ => 0.0,
        };
        // From a pass without a draft on, which has one row.
        let passes = &costs.passes[costs.load.rows + 1..];
        let tokens = tokens.min(passes.len() - 1);
        let row = (passes[tokens] - passes[0]) / tokens.max(1) as f64;
        (pass + row.max(0.0)) * rate
    }

    /// Drafts tokens and measures the cost.
    pub(super) fn propose(
        &mut self,
        history: &[u32],
        limit: DraftLimit,
        costs: &Costs,
    ) -> Result<Draft> {
        if self.drafted.is_empty() || self.unread(history.len()) > MAX_NEW {
            // Catching up is not part of the draft's cost.
            self.catch_up(&history[..history.len() - 1], costs)?;
        }
        let began = Instant::now();
        let draft = self.drafter.propose(history, limit)?;
        self.drafted = draft.first_chain().to_vec();
        let seconds = began.elapsed().as_secs_f64();
        costs.observe_draft(self.kind, self.paid_tokens(self.drafted.len()), seconds);
        self.prefilled = history.len() - 1;
        Ok(draft)
    }

    /// Prefills the new tokens of a text.
    pub(super) fn catch_up(&mut self, text: &[u32], costs: &Costs) -> Result<()> {
        let new = self.unread(text.len());
        let began = Instant::now();
        self.drafter.prefill(text)?;
        costs.observe_prefill(self.kind, new, began.elapsed().as_secs_f64());
        self.prefilled = text.len();
        Ok(())
    }

    /// Updates the acceptance from what the target generated. Tokens after the first mismatch prove nothing.
    pub(super) fn learn(&self, generated: &[u32], acceptance: &mut Observations<'_>) {
        for (position, (drafted, generated)) in self.drafted.iter().zip(generated).enumerate() {
            let right = drafted == generated;
            acceptance.observe(self.at(position), Rank::Undrafted, right);
            if !right {
                return;
            }
        }
    }

    /// A candidate that stands for its token at a position before that is drafted.
    fn at(&self, position: usize) -> Candidate {
        Candidate::undrafted(self.kind, position)
    }
}
