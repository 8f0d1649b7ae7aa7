//! Chooses each step's draft: the one with the best rate by the costs and the acceptance so far, which may be no draft.

use std::time::Duration;

use super::cost::Costs;
use super::costed::{CostedDrafter, StepCosts};
use super::estimate::{Load, StepEstimate};
use super::retrieval_tree::{Limit, Plan, RetrievalDrafters};
use crate::error::Result;
use crate::model::LogitsRow;
use crate::settings::DraftKind;
use crate::speculation::{Acceptance, Draft, DraftLimit, Drafter};

/// The maximum length of a draft, which bounds the memory of a step's logits: 150 MB with a vocabulary of 150,000 tokens.
const MAX_DRAFTED: usize = 256;

/// Tokens that the target reaches with a lower probability are not considered. (Replays with 0.001 to 0.1 differ by less than
/// 0.1 %: such tokens never pay, and considering them takes time.)
const MIN_REACHED: f64 = 0.01;

/// The rate, relative to a plain step's, that a draft must reach: the largest of several noisy estimates is biased upwards.
/// (Replays with exact costs: the best of 1.0 to 1.1; 1.0 is 0.1 % slower, 1.1 0.7 %. With noisy costs, 1.0 is 1.4 % faster, which
/// is about their noise.)
const MARGIN: f64 = 1.02;

/// The drafters of one request, and the choice among them.
pub struct Controller {
    gamma: usize,
    adaptive: bool,
    costs: Costs,
    acceptance: Acceptance,
    retrieval: RetrievalDrafters,
    drafter: Option<CostedDrafter>,
    /// Whether a step was planned before.
    begun: bool,
    /// The sum of the estimates of the steps so far.
    predicted: StepEstimate,
}

impl Controller {
    /// Drafts `gamma` tokens a step, or as many as the sources propose; if `adaptive`, as many of these as give the best rate. A
    /// `gamma` above 256 counts as 256.
    pub fn new(
        gamma: usize,
        adaptive: bool,
        costs: &Costs,
        acceptance: Acceptance,
        retrieval: RetrievalDrafters,
    ) -> Self {
        Self {
            gamma: gamma.min(MAX_DRAFTED),
            adaptive,
            costs: costs.clone(),
            acceptance,
            retrieval,
            drafter: None,
            begun: false,
            predicted: StepEstimate::default(),
        }
    }

    /// Adds a drafter whose tokens take time.
    #[must_use]
    pub(crate) fn with_drafter(mut self, source: Box<dyn Drafter>, kind: DraftKind) -> Self {
        self.drafter = Some(CostedDrafter::new(source, kind));
        self
    }

    /// The target's layers whose hidden states the drafters need.
    pub(crate) fn captured_layers(&self) -> &[usize] {
        let costed = self.drafter.as_ref();
        costed.map_or(&[], |costed| costed.drafter.captured_layers())
    }

    /// Tells the drafters that they receive no hidden states of the first tokens, which the target has from a cache.
    pub(crate) fn skip_hidden(&mut self, tokens: usize) {
        if let Some(costed) = &mut self.drafter
            && costed.captures_hidden()
        {
            costed.drafter.skip_hidden(tokens);
            costed.prefilled = tokens;
        }
    }

    /// Receives the hidden states of tokens that the target has processed.
    pub(crate) fn observe_hidden(&mut self, hidden: &[f32]) {
        if let Some(costed) = &mut self.drafter {
            costed.drafter.observe_hidden(hidden);
        }
    }

    /// Follows a prompt, or more of it. A drafter for which this takes time defers it until it drafts; and so does a head that
    /// has not paid so far.
    pub fn prefill(&mut self, prompt: &[u32]) -> Result<()> {
        self.retrieval.follow(prompt)?;
        let (context, tokens) = (prompt.len().saturating_sub(1), self.gamma);
        let Some(costed) = self
            .drafter
            .as_mut()
            .filter(|costed| costed.captures_hidden())
        else {
            return Ok(());
        };
        let passes = self.costs.relative(context, tokens + 1);
        let costs = StepCosts {
            passes: &passes,
            load: Load::default(),
            draft: self.costs.draft(context, costed.kind),
            catching_up: 0.0,
        };
        let mut pays = || costed.beats(MARGIN, &costs, tokens, &self.acceptance.lock());
        match !self.adaptive || pays() {
            true => costed.catch_up(prompt, &self.costs),
            false => Ok(()),
        }
    }

    /// The draft of a step, with its estimate: at most `max_tokens` tokens (`max_tree_tokens` in a tree), each permitted after
    /// its ancestors.
    pub fn propose(
        &mut self,
        history: &[u32],
        load: Load,
        max_tokens: usize,
        max_tree_tokens: usize,
        permitted: impl FnMut(&[u32]) -> Result<bool>,
    ) -> Result<Plan> {
        let tokens = self.gamma.min(max_tokens);
        if tokens == 0 {
            return Ok(Plan::plain(StepEstimate::PLAIN));
        }
        self.retrieval.follow(history)?;
        if !self.adaptive {
            let draft = self.draft(history, tokens, permitted)?;
            let estimate = StepEstimate::PLAIN;
            return Ok(Plan { draft, estimate });
        }
        let limit = Limit {
            tokens,
            tree: max_tree_tokens,
            reached: MIN_REACHED,
        };
        let plan = self.choose(history, load, limit, permitted)?;
        self.predicted += plan.estimate;
        Ok(plan)
    }

    /// Drafts as many tokens as the sources propose, up to a limit.
    fn draft(
        &mut self,
        history: &[u32],
        tokens: usize,
        permitted: impl FnMut(&[u32]) -> Result<bool>,
    ) -> Result<Draft> {
        if let Some(costed) = &mut self.drafter {
            let limit = DraftLimit { tokens, worth: 0.0 };
            return costed.propose(history, limit, &self.costs);
        }
        let limit = Limit {
            tokens,
            tree: 0,
            reached: 0.0,
        };
        let free = vec![1.0; tokens + 2];
        let alone = Load::default();
        let plan = self
            .retrieval
            .grow(&free, alone, limit, &self.acceptance.lock(), permitted);
        Ok(plan?.draft)
    }

    /// The draft with the best rate, and the estimate of the request's part of the pass.
    fn choose(
        &mut self,
        history: &[u32],
        load: Load,
        limit: Limit,
        mut permitted: impl FnMut(&[u32]) -> Result<bool>,
    ) -> Result<Plan> {
        let (context, tokens) = (history.len() - 1, limit.tokens);
        let passes = self.costs.relative(context, load.rows + tokens + 1);
        let plain = load.plain(&passes);
        let min_rate = MARGIN * plain.rate();
        let acceptance = &mut self.acceptance;
        // The statistics are locked only while candidates are compared, not while a model drafts.
        let mut grow =
            |retrieval: &mut RetrievalDrafters, acceptance: &mut Acceptance| -> Result<Plan> {
                let observed = acceptance.lock();
                let plan = retrieval.grow(&passes, load, limit, &observed, &mut permitted)?;
                Ok(match plan.estimate.rate() < min_rate {
                    true => Plan::plain(plain),
                    false => plan,
                })
            };
        let mut plan = grow(&mut self.retrieval, acceptance)?;
        // The first token does not wait for a draft model to prefill the prompt.
        let first = !std::mem::replace(&mut self.begun, true);
        let costed = self.drafter.as_mut();
        if let Some(costed) = costed.filter(|costed| !first || costed.captures_hidden()) {
            let costs = StepCosts {
                passes: &passes,
                load,
                draft: self.costs.draft(context, costed.kind),
                catching_up: self.costs.prefill(context, costed.kind)
                    * costed.unread(context) as f64,
            };
            let rate = plan.estimate.rate().max(min_rate);
            let choice = costed.choose(&costs, tokens, rate, &acceptance.lock());
            if let Some((tokens, estimate)) = choice {
                let worth = costed.worth(&costs, tokens, estimate.rate());
                let limit = DraftLimit { tokens, worth };
                let draft = costed.propose(history, limit, &self.costs)?;
                let paid = costed.paid_tokens(draft.first_chain().len());
                let drafting = costs.draft * paid as f64;
                plan = if draft.is_certain() {
                    // Now each token's feature is known, and dropping some of the tokens costs nothing.
                    self.retrieval.offer(history, draft)?;
                    let mut plan = grow(&mut self.retrieval, acceptance)?;
                    plan.estimate.cost += drafting;
                    plan
                } else {
                    Plan { draft, estimate }
                };
            }
        }
        plan.estimate = plan.estimate.beside(plain);
        Ok(plan)
    }

    /// The speedup that was expected of the steps so far; `None` before the first.
    pub(crate) fn predicted_speedup(&self) -> Option<f64> {
        (self.predicted.cost > 0.0).then(|| self.predicted.rate())
    }

    /// The time of a step without a draft after `history`; `None` before one was measured.
    pub(crate) fn plain_step(&self, history: &[u32]) -> Option<Duration> {
        let seconds = self.costs.plain_step(history.len() - 1);
        seconds.map(Duration::from_secs_f64)
    }

    /// Observes how long it took to verify a draft after `history`.
    pub fn time(&self, history: &[u32], draft: &Draft, verifying: Duration) {
        let (context, rows) = (history.len() - 1, draft.len() + 1);
        let seconds = verifying.as_secs_f64();
        self.costs.observe_pass(context, rows, seconds);
    }

    /// Updates the statistics from what the target generated: the last `rows.len()` tokens of the history, each chosen from its
    /// row of logits.
    pub fn learn(&mut self, history: &[u32], rows: &[LogitsRow<'_>]) -> Result<()> {
        let mut acceptance = self.acceptance.lock();
        if let Some(costed) = &self.drafter {
            let generated = &history[history.len() - rows.len()..];
            costed.learn(generated, &mut acceptance);
        }
        self.retrieval.learn(history, rows, &mut acceptance)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sampling::Distribution;
    use crate::speculation::acceptance::SharedAcceptance;
    use crate::speculation::{Candidate, RetrievalDrafter};

    /// Proposes the last token plus 1, and up to `width` more than it.
    struct Counting {
        width: u32,
        last: u32,
        nodes: Vec<u32>,
    }

    impl RetrievalDrafter for Counting {
        fn follow(&mut self, text: &[u32]) -> Result<()> {
            self.nodes.clear();
            self.last = text.last().copied().unwrap_or(0);
            Ok(())
        }

        fn enter(&mut self, _parent: Option<usize>, token: u32) {
            self.nodes.push(token);
        }

        fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
            let last = node.map_or(self.last, |node| self.nodes[node]);
            found.extend((1..=self.width).map(|step| Candidate {
                token: last + step,
                source: DraftKind::NGRAM,
                feature: step as u8,
                prior: 0.5,
            }));
        }
    }

    /// The same as a drafter that takes time, with a width of 1.
    struct Slow;

    impl Drafter for Slow {
        fn propose(&mut self, history: &[u32], limit: DraftLimit) -> Result<Draft> {
            let mut draft = Draft::default();
            for token in (history[history.len() - 1] + 1..).take(limit.tokens) {
                draft.push(token, Distribution::Point(token), DraftKind::CUSTOM);
            }
            Ok(draft)
        }
    }

    /// A controller for passes whose cost grows by `slope` with each row.
    fn controller(gamma: usize, adaptive: bool, slope: f64, width: u32) -> Controller {
        let costs = Costs::default();
        for rows in 1..=33 {
            costs.observe_pass(0, rows, 1.0 + slope * (rows - 1) as f64);
        }
        let acceptance = Acceptance::new(&SharedAcceptance::default(), true);
        let counting = Counting {
            width,
            last: 0,
            nodes: Vec::new(),
        };
        let retrieval: Vec<Box<dyn RetrievalDrafter>> = match width {
            0 => Vec::new(),
            _ => vec![Box::new(counting)],
        };
        let retrieval = RetrievalDrafters::new(retrieval, usize::MAX);
        Controller::new(gamma, adaptive, &costs, acceptance, retrieval)
    }

    fn propose(controller: &mut Controller, text: &[u32]) -> Draft {
        controller
            .propose(text, Load::default(), 100, 64, |_| Ok(true))
            .unwrap()
            .draft
    }

    /// Runs 600 steps of a target that generates the last token plus 1 at a rate, else plus 2; returns the text, and how many
    /// tokens the last 200 steps drafted.
    fn settled(controller: &mut Controller, text: &[u32], rate: f64) -> (Vec<u32>, usize) {
        let mut text = text.to_vec();
        let mut state = 1_u64;
        let mut next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            1 + u32::from(((state >> 33) % 1000) as f64 >= 1000.0 * rate)
        };
        controller.prefill(&text).unwrap();
        let mut drafted = 0;
        for step in 0..600 {
            let draft = propose(controller, &text);
            drafted += if step >= 400 { draft.len() } else { 0 };
            let (mut node, mut new) = (None, 0);
            loop {
                let token = text[text.len() - 1] + next();
                text.push(token);
                new += 1;
                let child = draft
                    .children(node)
                    .find(|child| draft.tokens()[*child] == token);
                let Some(child) = child else { break };
                node = Some(child);
            }
            let rows = vec![LogitsRow::from(&[][..]); new];
            controller.learn(&text, &rows).unwrap();
        }
        (text, drafted)
    }

    #[test]
    fn length_follows_costs_and_acceptance() {
        let length = |rate, slope| settled(&mut controller(16, true, slope, 1), &[1], rate).1 / 200;
        // If rows cost nothing, all tokens are drafted; if each costs as much as a pass, none is.
        assert_eq!(length(0.9, 0.0), 16);
        assert_eq!(length(0.7, 1.0), 0);
        let (low, high) = (length(0.5, 0.15), length(0.9, 0.15));
        assert!((1..=3).contains(&low), "{low}");
        assert!((4..=12).contains(&high), "{high}");
    }

    #[test]
    fn a_source_that_is_always_wrong_does_not_draft() {
        assert_eq!(settled(&mut controller(8, true, 0.2, 1), &[1], 0.0).1, 0);
        // A source that takes time is probed for a token now and then, which need not be verified to be counted.
        let mut slow = controller(8, true, 0.2, 0).with_drafter(Box::new(Slow), DraftKind::CUSTOM);
        let (text, drafted) = settled(&mut slow, &[1], 0.0);
        assert_eq!(drafted, 0);
        assert!(settled(&mut slow, &text, 1.0).1 > 200 * 4);
    }

    #[test]
    fn alternatives_become_a_tree() {
        let mut controller = controller(16, true, 0.05, 2);
        let (text, _) = settled(&mut controller, &[1], 0.6);
        let draft = propose(&mut controller, &text);
        let last = text[text.len() - 1];
        let roots = draft.children(None).map(|node| draft.tokens()[node]);
        let roots: BTreeSet<u32> = roots.collect();
        assert_eq!(roots, BTreeSet::from([last + 1, last + 2]));
        assert!(!draft.is_chain());
        let chain = controller
            .propose(&text, Load::default(), 100, 0, |_| Ok(true))
            .unwrap()
            .draft;
        assert!(chain.is_chain() && !chain.is_empty());
    }

    #[test]
    fn a_fixed_length_is_kept_and_zero_drafts_nothing() {
        let mut fixed = controller(5, false, 9.0, 2);
        fixed.prefill(&[1]).unwrap();
        assert_eq!(propose(&mut fixed, &[1]).tokens(), [2, 3, 4, 5, 6]);
        let limited = fixed
            .propose(&[1], Load::default(), 3, 64, |_| Ok(true))
            .unwrap()
            .draft;
        assert_eq!(limited.len(), 3);
        let mut off = controller(0, true, 0.0, 1);
        assert!(propose(&mut off, &[1]).is_empty());
        let mut forbidden = controller(5, false, 0.0, 1);
        forbidden.prefill(&[1]).unwrap();
        let draft = forbidden
            .propose(&[1], Load::default(), 9, 64, |path| Ok(path.len() < 3))
            .unwrap()
            .draft;
        assert_eq!(draft.tokens(), [2, 3]);
    }
}
