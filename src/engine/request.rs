//! One request: propose a draft, verify it, accept what the target would have written, emit it, learn from it.
//!
//! A step is three calls, since the forward pass in the middle may be shared with other requests:
//! [`Request::plan`] says what the request wants of the pass, [`Request::append`] hands its tokens to the pass, and
//! [`Request::complete`] turns the pass's logits into a chunk of the answer. The
//! [`Scheduler`](super::Scheduler) makes these calls.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::output::{Chunk, FinishReason, Generation};
use super::scope::Scope;
use super::stats::Stats;
use super::work::{Pending, WorkItem, row_after};
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{Append, LogitsRow, LogitsView, SharedModel, TokenSequence};
use crate::sampling::{Noise, NoiseStream, Processors};
use crate::settings::DraftKind;
use crate::settings::{SpeculativeConfig, Verification};
use crate::speculation::{Controller, Draft, Load, Plan, Verdict, verify};
use crate::text::Tokenizer;

/// The stream of a request's noise that verification draws from; drafts have others.
const VERIFICATION_STREAM: u16 = 0;

/// Ends a generation within one step, from any thread.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the generation to end.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request in progress.
///
/// Between steps the target's cache holds all of the history but its newest token.
pub struct Request {
    scope: Scope,
    target: TokenSequence,
    controller: Controller,
    processors: Processors,
    noise: Noise,
    /// What rejection and block verification draw from.
    verification_noise: NoiseStream,
    /// Prompt and output so far.
    history: Vec<u32>,
    writer: Writer,
    config: SpeculativeConfig,
    cancel: CancelToken,
    finish: Option<FinishReason>,
    stats: Stats,
    started: Instant,
}

impl Request {
    /// A request that has not begun. The configuration must be valid.
    #[allow(clippy::too_many_arguments, reason = "its parts, each of another kind")]
    pub(crate) fn new(
        scope: Scope,
        target: &SharedModel,
        controller: Controller,
        processors: Processors,
        noise: Noise,
        tokenizer: &Tokenizer,
        prompt: Vec<u32>,
        config: &SpeculativeConfig,
    ) -> Result<Self> {
        check_prompt(&prompt, target)?;
        let mut target = TokenSequence::new(target);
        target.capture(controller.captured_layers());
        Ok(Self {
            scope,
            target,
            controller,
            processors,
            noise,
            verification_noise: noise.stream(VERIFICATION_STREAM),
            writer: Writer::new(tokenizer, config),
            stats: Stats {
                prompt_tokens: prompt.len(),
                ..Stats::default()
            },
            history: prompt,
            config: config.clone(),
            cancel: CancelToken::default(),
            finish: None,
            started: Instant::now(),
        })
    }

    /// What the request wants of the next forward pass: a chunk of its prompt, of `prefill_budget` tokens at most, or its
    /// draft verified beside the `load` of the other requests. `None`: the generation has ended.
    pub(super) fn plan(&mut self, load: Load, prefill_budget: usize) -> Result<Option<WorkItem>> {
        if self.finish.is_some() {
            return Ok(None);
        }
        if self.tokens_to_prefill() > 0 {
            let chunk = self.next_chunk_of_prompt(prefill_budget);
            return Ok(Some(WorkItem::Prefill(chunk)));
        }
        if self.writer.tokens().is_empty() {
            self.stats.prefill = self.started.elapsed();
            // Where a later prompt may part from this one.
            self.target.checkpoint()?;
        }
        if self.config.max_new_tokens == 0 {
            self.finish = Some(FinishReason::Length);
            return Ok(None);
        }
        let began = Instant::now();
        let plan = self.propose(load)?;
        Ok(Some(WorkItem::Verify(Pending::new(
            self.history[self.history.len() - 1],
            plan,
            began,
        ))))
    }

    /// The tokens that the forward pass appends for a work item; `None`: there are none in this pass.
    pub(super) fn append<'a>(&'a mut self, item: &'a WorkItem) -> Option<Append<'a>> {
        let (tokens, parents, rows) = item.input(&self.history);
        (!tokens.is_empty()).then_some(Append {
            sequence: &mut self.target,
            tokens,
            parents,
            rows,
        })
    }

    /// Completes a work item with the logits of the pass; `None`: the prompt's chunk gave no token yet.
    ///
    /// `alone`: no other request shared the pass, so its time says what passes cost.
    pub(super) fn complete(
        &mut self,
        item: WorkItem,
        logits: LogitsView<'_>,
        alone: bool,
    ) -> Result<Option<Chunk>> {
        let step = match item {
            WorkItem::Prefill(chunk) => {
                self.observe_prompt(chunk, logits)?;
                return Ok(None);
            }
            WorkItem::Verify(step) => step,
        };
        let draft = &step.draft;
        let verdict = self.verify(draft, logits)?;
        if alone && !logits.used_new_weights() {
            let verifying = step.proposed.elapsed();
            self.controller.time(&self.history, draft, verifying);
        }
        self.accept(draft, &verdict)?;
        self.record(&step, &verdict);
        let chunk = self.emit(draft, &verdict, logits)?;
        self.learn(&verdict, logits, chunk.tokens.len())?;
        Ok(Some(chunk))
    }

    /// The draft that the controller chooses, beside the load of the other requests, cut to what there is room for.
    fn propose(&mut self, load: Load) -> Result<Plan> {
        debug_assert_eq!(self.target.len(), self.history.len() - 1);
        let room = self.room() - 1;
        let max_tree_tokens = self.target.max_tree_tokens();
        let (processors, history) = (&mut self.processors, &self.history);
        let permitted = |path: &[u32]| Ok(processors.permits(history, path));
        let mut plan = self.controller.propose(
            history,
            load,
            room,
            max_tree_tokens.saturating_sub(1),
            permitted,
        )?;
        plan.draft.truncate(room);
        if !plan.draft.is_chain() {
            match max_tree_tokens {
                0 => plan.draft.truncate_to_chain(),
                tokens => plan.draft.truncate(tokens - 1),
            }
        }
        Ok(plan)
    }

    /// How much of the draft the target would have written, and the token that follows it.
    fn verify(&mut self, draft: &Draft, logits: LogitsView<'_>) -> Result<Verdict> {
        let (processors, history, noise) = (&mut self.processors, &self.history, self.noise);
        let mut distribution = |path: &[usize]| {
            let node = path.last().copied();
            let drafted = node.map_or_else(Vec::new, |node| draft.path(node));
            processors.distribution(logits.row(row_after(node)), history, &drafted)
        };
        match self.config.verification {
            Verification::Coupled => verify::matching(draft, |path| {
                Ok(noise.choose(history.len() + path.len(), &distribution(path)?))
            }),
            Verification::Rejection => {
                verify::rejection(draft, distribution, &mut self.verification_noise)
            }
            Verification::Block => {
                verify::traversal(draft, distribution, &mut self.verification_noise)
            }
        }
    }

    /// Keeps the newest token and the accepted ones in the target's cache, and rolls back the others.
    fn accept(&mut self, draft: &Draft, verdict: &Verdict) -> Result<()> {
        if draft.is_chain() {
            let length = self.history.len() + verdict.accepted.len();
            return self.target.truncate(length);
        }
        self.target.accept(&path_of(verdict))
    }

    /// Appends the accepted tokens and the target's own, up to where the generation ends.
    fn emit(&mut self, draft: &Draft, verdict: &Verdict, logits: LogitsView<'_>) -> Result<Chunk> {
        let accepted = verdict.accepted.iter();
        let accepted = accepted.map(|node| (draft.tokens()[*node], draft.source(*node)));
        let own = std::iter::once((verdict.next, DraftKind::TARGET));
        let step = self.stats.steps - 1;
        let mut chunk = Chunk::default();
        for ((id, source), row) in accepted.chain(own).zip(path_of(verdict)) {
            self.history.push(id);
            let row = logits.row(row);
            let stopped = self.writer.push(id, source, step, row, &mut chunk)?;
            if stopped {
                return self.end(FinishReason::Stop, chunk);
            }
            let new_tokens = self.writer.tokens().len() + chunk.tokens.len();
            let full = self.history.len() > self.target.context_length();
            if full || new_tokens == self.config.max_new_tokens {
                return self.end(FinishReason::Length, chunk);
            }
        }
        Ok(self.deliver(chunk))
    }

    /// Learns what drafts were worth, and what was likely after the predecessor of each of the `new` tokens.
    fn learn(&mut self, verdict: &Verdict, logits: LogitsView<'_>, new: usize) -> Result<()> {
        let path = path_of(verdict);
        for row in &path {
            self.controller.observe_hidden(logits.hidden_of(*row));
        }
        let rows = path.iter().take(new).map(|row| logits.row(*row));
        let rows: Vec<LogitsRow<'_>> = rows.collect();
        self.controller.learn(&self.history, &rows)
    }

    /// The next tokens of the prompt to prefill, `budget` at most: all but the prompt's last token, whose logits are the first
    /// that are needed.
    fn next_chunk_of_prompt(&self, budget: usize) -> Range<usize> {
        let (start, end) = (self.target.len(), self.history.len() - 1);
        match self.finish {
            None if self.writer.tokens().is_empty() => start..end.min(start.saturating_add(budget)),
            _ => start..start,
        }
    }

    /// Lets the drafters see a chunk of the prompt that the target has prefilled.
    fn observe_prompt(&mut self, chunk: Range<usize>, logits: LogitsView<'_>) -> Result<()> {
        self.controller.observe_hidden(logits.hidden());
        self.controller.prefill(&self.history[..chunk.end])
    }

    /// Tokens that may still be generated; at least 1 while the generation goes on.
    fn room(&self) -> usize {
        let wanted = self.config.max_new_tokens - self.writer.tokens().len();
        wanted.min(self.target.room())
    }

    fn record(&mut self, step: &Pending, verdict: &Verdict) {
        let verifying = step.proposed.elapsed();
        self.stats
            .record_step(&step.draft, &verdict.accepted, step.drafting(), verifying);
        self.stats.predicted_speedup = self.controller.predicted_speedup();
        if self.writer.tokens().is_empty() {
            self.stats.time_to_first_token = self.started.elapsed();
        }
    }

    /// Ends the generation with a last chunk, to which the text held back so far is added.
    fn end(&mut self, reason: FinishReason, mut chunk: Chunk) -> Result<Chunk> {
        self.writer.finish(&mut chunk)?;
        self.finish = Some(reason);
        tracing::info!(
            prompt_tokens = self.stats.prompt_tokens,
            new_tokens = self.writer.tokens().len() + chunk.tokens.len(),
            steps = self.stats.steps,
            drafted = self.stats.drafted,
            accepted = self.stats.accepted,
            %reason,
            "generation ended"
        );
        // Tokens after the end stay neither in the history nor in the cache.
        self.target
            .truncate(self.target.len().min(self.history.len()))?;
        Ok(self.deliver(chunk))
    }

    fn deliver(&mut self, chunk: Chunk) -> Chunk {
        self.writer.deliver(&chunk);
        self.stats.new_tokens = self.writer.tokens().len();
        if let Some(step) = self.controller.plain_step(&self.history) {
            let without_drafts = step * chunk.tokens.len() as u32;
            *self.stats.plain.get_or_insert_default() += without_drafts;
        }
        self.stats.decode = self.started.elapsed().saturating_sub(self.stats.prefill);
        chunk
    }
}

/// What the scheduler asks of a request between steps.
impl Request {
    /// A handle that ends this generation from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Tokens of the prompt still to prefill before the first token is generated.
    pub(super) fn tokens_to_prefill(&self) -> usize {
        self.next_chunk_of_prompt(usize::MAX).len()
    }

    /// Tokens of the prompt, and those that may be generated.
    pub(super) fn max_tokens(&self) -> usize {
        let prompt = self.stats.prompt_tokens;
        let tokens = prompt.saturating_add(self.config.max_new_tokens);
        tokens.min(self.target.context_length())
    }

    /// Which other requests may share what it computes.
    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    /// The tokens so far.
    pub(super) fn history(&self) -> &[u32] {
        &self.history
    }

    /// The target's cache of the first of them.
    pub(super) fn cache(&self) -> &TokenSequence {
        &self.target
    }

    /// Whether a response format constrains it, so that its steps may take long.
    pub(super) fn is_constrained(&self) -> bool {
        self.config.response_format.is_some()
    }

    /// Starts from a cache that holds the first tokens of the prompt.
    pub(super) fn adopt_prefix(&mut self, cache: TokenSequence) {
        debug_assert!(self.target.is_empty() && cache.len() < self.history.len());
        self.stats.cached_tokens = cache.len();
        self.target = cache;
        // A head drafts from what follows.
        self.target.capture(self.controller.captured_layers());
        self.controller.skip_hidden(self.target.len());
    }

    /// Ends the generation early, with the text held back so far.
    pub(super) fn abort(&mut self) -> Result<Chunk> {
        self.end(FinishReason::Cancelled, Chunk::default())
    }

    /// When it arrived.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Whether the generation has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether it was asked to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// What was generated; and the tokens with the cache of the first of them, for later requests to start from.
    pub(super) fn into_parts(self) -> (Generation, Vec<u32>, TokenSequence) {
        let (text, tokens) = self.writer.into_parts();
        let generation = Generation {
            text,
            tokens,
            finish_reason: self.finish.unwrap_or(FinishReason::Cancelled),
            stats: self.stats,
        };
        (generation, self.history, self.target)
    }
}

/// The rows that stay: the newest token's and the accepted ones'.
fn path_of(verdict: &Verdict) -> Vec<usize> {
    let accepted = verdict.accepted.iter().copied().map(Some);
    let nodes = std::iter::once(None).chain(accepted);
    nodes.map(row_after).collect()
}

/// Refuses a prompt that the target can't continue.
pub(crate) fn check_prompt(prompt: &[u32], target: &SharedModel) -> Result<()> {
    if prompt.is_empty() {
        return Err(Error::invalid("prompt", "empty", "at least one token"));
    }
    limits::known("prompt token", prompt, target.vocab_size())?;
    limits::fits(prompt.len(), target.context_length())
}
