//! One request: step after step of choose, propose, verify, roll back, emit.

mod turn;

pub(super) use turn::Turn;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::output::{Chunk, FinishReason, Generation, Stats, Token};
use super::stop::StopMatcher;
use crate::config::{SpeculativeConfig, Verification};
use crate::error::{Error, Result};
use crate::model::{Logits, LogitsView, Parents, SharedModel, TokenSequence};
use crate::sampling::{Noise, NoiseStream, Processors, likeliest};
use crate::speculation::{Controller, Draft, Load, Plan, TokenSource, Verdict, verify};
use crate::text::{Detokenizer, Tokenizer};

/// Prompt tokens read between two looks at the cancel token.
const PREFILL_CHUNK: usize = 256;

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
pub struct Session {
    target: TokenSequence,
    controller: Controller,
    processors: Processors,
    noise: Noise,
    /// What rejection and block verification draw from.
    chance: NoiseStream,
    /// Prompt and output so far.
    history: Vec<u32>,
    output: Output,
    config: SpeculativeConfig,
    eos: Vec<u32>,
    cancel: CancelToken,
    finish: Option<FinishReason>,
    stats: Stats,
    started: Instant,
}

/// What was emitted, and what waits to be.
struct Output {
    detokenizer: Detokenizer,
    stop: StopMatcher,
    text: String,
    tokens: Vec<Token>,
}

impl Session {
    /// Begins a request. The configuration must be valid.
    pub fn new(
        target: &SharedModel,
        controller: Controller,
        processors: Processors,
        noise: Noise,
        tokenizer: &Tokenizer,
        prompt: Vec<u32>,
        config: &SpeculativeConfig,
    ) -> Result<Self> {
        check_prompt(&prompt, target)?;
        let finish = (config.max_new_tokens == 0).then_some(FinishReason::Length);
        let mut target = TokenSequence::new(target);
        target.watch(controller.watched());
        Ok(Self {
            target,
            controller,
            processors,
            noise,
            chance: noise.stream(VERIFICATION_STREAM),
            output: Output {
                detokenizer: tokenizer.detokenizer(true, true),
                stop: StopMatcher::new(&config.stop),
                text: String::new(),
                tokens: Vec::new(),
            },
            eos: match config.ignore_eos {
                true => Vec::new(),
                false => tokenizer.eos_token_ids().to_vec(),
            },
            stats: Stats {
                prompt_tokens: prompt.len(),
                ..Stats::default()
            },
            history: prompt,
            config: config.clone(),
            cancel: CancelToken::default(),
            finish,
            started: Instant::now(),
        })
    }

    /// A handle that ends this generation from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// The next chunk; `None` once the generation has ended.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if self.finish.is_some() {
            return Ok(None);
        }
        self.prefill()?;
        if self.cancel.is_cancelled() {
            return self
                .end(FinishReason::Cancelled, Chunk::default())
                .map(Some);
        }
        self.step().map(Some)
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Generation> {
        while self.next_chunk()?.is_some() {}
        Ok(self.into_generation())
    }

    /// What was generated so far.
    pub fn into_generation(self) -> Generation {
        self.into_parts().0
    }

    /// Reads the prompt, all but its last token, into the caches of target and draft.
    fn prefill(&mut self) -> Result<()> {
        if !self.output.tokens.is_empty() {
            return Ok(());
        }
        while !self.cancel.is_cancelled() && self.read_prompt()? {}
        self.stats.prefill = self.started.elapsed();
        Ok(())
    }

    /// Reads the next piece of the prompt; `false` if it was read. [`Self::next_chunk`] reads what is
    /// left: this is for a caller with something to do between the pieces.
    pub fn read_prompt(&mut self) -> Result<bool> {
        let piece = self.next_piece(PREFILL_CHUNK);
        if piece.is_empty() {
            return Ok(false);
        }
        let read = self.target.extend(&self.history[piece.clone()], 0)?;
        self.observe_piece(piece, read.view())?;
        Ok(true)
    }

    /// The next tokens of the prompt that are to be read: all but its last, so many at most; none once they are.
    fn next_piece(&self, most: usize) -> Range<usize> {
        let (start, end) = (self.target.len(), self.history.len() - 1);
        match self.finish {
            None if self.output.tokens.is_empty() => start..end.min(start + most),
            _ => start..start,
        }
    }

    /// Lets the sources see a piece of the prompt that the target has read.
    fn observe_piece(&mut self, piece: Range<usize>, read: LogitsView<'_>) -> Result<()> {
        self.controller.observe(read.hidden());
        self.controller.read(&self.history[..piece.end])
    }

    /// One speculative step: at least one token, at most the draft's and one.
    fn step(&mut self) -> Result<Chunk> {
        let began = Instant::now();
        let draft = self.propose(Load::default())?.draft;
        let proposed = Instant::now();
        let logits = self.extend(&draft)?;
        let verdict = self.verify(&draft, logits.view())?;
        self.controller
            .time(&self.history, &draft, proposed.elapsed());
        self.conclude(&draft, &verdict, logits.view(), [began, proposed])
    }

    /// What follows from a verdict: the cache without what was rejected, the tokens for the caller, and what is learned.
    fn conclude(
        &mut self,
        draft: &Draft,
        verdict: &Verdict,
        logits: LogitsView<'_>,
        [began, proposed]: [Instant; 2],
    ) -> Result<Chunk> {
        self.roll_back(draft, verdict)?;
        self.record(draft, verdict, [proposed - began, proposed.elapsed()]);
        let chunk = self.emit(draft, verdict, logits)?;
        self.learn(verdict, logits, chunk.tokens.len())?;
        Ok(chunk)
    }

    /// The draft that the controller chooses, beside what others get of the pass, and for which there is room.
    fn propose(&mut self, load: Load) -> Result<Plan> {
        debug_assert_eq!(self.target.len(), self.history.len() - 1);
        let room = self.room() - 1;
        let most = self.target.most_tree_tokens();
        let (processors, history) = (&mut self.processors, &self.history);
        let permitted = |path: &[u32]| processors.permits(history, path);
        let mut plan =
            self.controller
                .propose(history, load, room, most.saturating_sub(1), permitted)?;
        plan.draft.truncate(room);
        if !plan.draft.is_chain() {
            match most {
                0 => plan.draft.truncate_to_chain(),
                most => plan.draft.truncate(most - 1),
            }
        }
        Ok(plan)
    }

    /// Feeds the newest token, and the draft behind it; returns the target's logits behind each.
    fn extend(&mut self, draft: &Draft) -> Result<Logits> {
        let fed = Fed::new(self.history[self.history.len() - 1], draft);
        match fed.parents() {
            Parents::Chain => self.target.extend(&fed.tokens, fed.tokens.len()),
            Parents::Tree(parents) => {
                self.target
                    .extend_tree(&fed.tokens, parents, fed.tokens.len())
            }
        }
    }

    fn verify(&mut self, draft: &Draft, logits: LogitsView<'_>) -> Result<Verdict> {
        let (processors, history, noise) = (&mut self.processors, &self.history, self.noise);
        let mut target_law = |path: &[usize]| {
            let node = path.last().copied();
            let drafted = node.map_or_else(Vec::new, |node| draft.path(node));
            processors.law(logits.row(row_behind(node)), history, &drafted)
        };
        match self.config.verification {
            Verification::Coupled => verify::matching(draft, |path| {
                Ok(noise.choose(history.len() + path.len(), &target_law(path)?))
            }),
            Verification::Rejection => verify::rejection(draft, target_law, &mut self.chance),
            Verification::Block => verify::traversal(draft, target_law, &mut self.chance),
        }
    }

    /// Keeps the newest token and the accepted ones in the target's cache, and nothing else.
    fn roll_back(&mut self, draft: &Draft, verdict: &Verdict) -> Result<()> {
        if draft.is_chain() {
            let kept = self.history.len() + verdict.accepted.len();
            return self.target.truncate(kept);
        }
        self.target.keep(&path_of(verdict))
    }

    /// Tokens that may still be written; at least 1 while the generation goes on.
    fn room(&self) -> usize {
        let wanted = self.config.max_new_tokens - self.output.tokens.len();
        wanted.min(self.target.context_length() - self.target.len())
    }

    fn record(&mut self, draft: &Draft, verdict: &Verdict, [drafting, verifying]: [Duration; 2]) {
        let accepted = verdict.accepted.len();
        let stats = &mut self.stats;
        stats.draft += drafting;
        stats.verify += verifying;
        stats.drafted += draft.len();
        stats.accepted += accepted;
        for node in 0..draft.len() {
            stats.sources.entry(draft.source(node)).or_default().drafted += 1;
        }
        for node in &verdict.accepted {
            stats
                .sources
                .entry(draft.source(*node))
                .or_default()
                .accepted += 1;
        }
        count_positions(&mut stats.drafted_per_position, draft.depth());
        count_positions(&mut stats.accepted_per_position, accepted);
        let positions = stats.drafted_per_position.len();
        stats.accepted_per_position.resize(positions, 0);
        stats.steps += 1;
        stats.predicted_speedup = self.controller.predicted_speedup();
        if self.output.tokens.is_empty() {
            stats.time_to_first_token = self.started.elapsed();
        }
    }

    /// Learns what drafts were worth, and what was likely behind each of the `new` tokens' predecessors.
    fn learn(&mut self, verdict: &Verdict, logits: LogitsView<'_>, new: usize) -> Result<()> {
        let path = path_of(verdict);
        for row in &path {
            self.controller.observe(logits.hidden_of(*row));
        }
        let rows = path.iter().take(new).map(|row| logits.row(*row));
        let rows: Vec<&[f32]> = rows.collect();
        self.controller.learn(&self.history, &rows)
    }

    /// Appends the accepted tokens and the target's own, up to where the generation ends.
    fn emit(&mut self, draft: &Draft, verdict: &Verdict, logits: LogitsView<'_>) -> Result<Chunk> {
        let accepted = verdict.accepted.iter();
        let accepted = accepted.map(|node| (draft.tokens()[*node], draft.source(*node)));
        let own = std::iter::once((verdict.next, TokenSource::Target));
        let step = self.stats.steps - 1;
        let mut chunk = Chunk::default();
        for ((id, source), row) in accepted.chain(own).zip(path_of(verdict)) {
            self.history.push(id);
            let text = self.output.detokenizer.push(id)?;
            chunk.text.push_str(&self.output.stop.push(&text));
            let (logprob, top_logprobs) = match self.config.logprobs {
                Some(count) => logprobs(logits.row(row), id, count),
                None => (None, Vec::new()),
            };
            chunk.tokens.push(Token {
                id,
                text,
                logprob,
                top_logprobs,
                source,
                step,
            });
            let written = self.output.tokens.len() + chunk.tokens.len();
            if self.output.stop.stopped() || self.eos.contains(&id) {
                return self.end(FinishReason::Stop, chunk);
            }
            let full = self.history.len() > self.target.context_length();
            if full || written == self.config.max_new_tokens {
                return self.end(FinishReason::Length, chunk);
            }
        }
        Ok(self.deliver(chunk))
    }

    /// Ends the generation with a last chunk, to which the text held back so far is added.
    fn end(&mut self, reason: FinishReason, mut chunk: Chunk) -> Result<Chunk> {
        let rest = self.output.detokenizer.finish()?;
        chunk.text.push_str(&self.output.stop.push(&rest));
        chunk.text.push_str(&self.output.stop.finish());
        self.finish = Some(reason);
        tracing::info!(
            prompt_tokens = self.stats.prompt_tokens,
            new_tokens = self.output.tokens.len() + chunk.tokens.len(),
            steps = self.stats.steps,
            drafted = self.stats.drafted,
            accepted = self.stats.accepted,
            %reason,
            "generation ended"
        );
        // Tokens behind the end are neither kept in the history nor in the cache.
        self.target
            .truncate(self.target.len().min(self.history.len()))?;
        Ok(self.deliver(chunk))
    }

    fn deliver(&mut self, chunk: Chunk) -> Chunk {
        self.output.text.push_str(&chunk.text);
        self.output.tokens.extend_from_slice(&chunk.tokens);
        self.stats.new_tokens = self.output.tokens.len();
        if let Some(step) = self.controller.plain_step(&self.history) {
            let without_drafts = step * chunk.tokens.len() as u32;
            *self.stats.plain.get_or_insert_default() += without_drafts;
        }
        self.stats.decode = self.started.elapsed().saturating_sub(self.stats.prefill);
        chunk
    }
}

/// What a step feeds to the target: the newest token, and the draft behind it.
struct Fed {
    tokens: Vec<u32>,
    /// None for a chain.
    parents: Vec<Option<usize>>,
}

impl Fed {
    fn new(newest: u32, draft: &Draft) -> Self {
        let behind = draft.parents().iter();
        let behind = behind.map(|parent| Some(row_behind(*parent)));
        Self {
            tokens: [&[newest], draft.tokens()].concat(),
            parents: match draft.is_chain() {
                true => Vec::new(),
                false => std::iter::once(None).chain(behind).collect(),
            },
        }
    }

    fn parents(&self) -> Parents<'_> {
        match &self.parents[..] {
            [] => Parents::Chain,
            parents => Parents::Tree(parents),
        }
    }
}

/// The row of logits that follows a draft's node; `None`: the newest token, which is fed before the draft.
fn row_behind(node: Option<usize>) -> usize {
    node.map_or(0, |node| node + 1)
}

/// The rows that stay: the newest token's and the accepted ones'.
fn path_of(verdict: &Verdict) -> Vec<usize> {
    let accepted = verdict.accepted.iter().copied().map(Some);
    let nodes = std::iter::once(None).chain(accepted);
    nodes.map(row_behind).collect()
}

/// Counts one more for each of the first `reached` positions.
fn count_positions(counts: &mut Vec<usize>, reached: usize) {
    counts.resize(counts.len().max(reached), 0);
    counts[..reached].iter_mut().for_each(|count| *count += 1);
}

/// Refuses a prompt that the target can't continue.
pub(crate) fn check_prompt(prompt: &[u32], target: &SharedModel) -> Result<()> {
    if prompt.is_empty() {
        return Err(Error::invalid("prompt", "empty", "at least one token"));
    }
    let vocab_size = target.vocab_size();
    if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab_size) {
        let expected = format!("token ids below the vocabulary's size, {vocab_size}");
        return Err(Error::invalid("prompt token", id, expected));
    }
    if prompt.len() > target.context_length() {
        return Err(Error::ContextOverflow {
            tokens: prompt.len(),
            context_length: target.context_length(),
        });
    }
    Ok(())
}

/// The log-probability of a token, and the `count` likeliest tokens with theirs.
fn logprobs(logits: &[f32], token: u32, count: usize) -> (Option<f32>, Vec<(u32, f32)>) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits
        .iter()
        .map(|logit| f64::from(logit - highest).exp())
        .sum();
    let normalizer = f64::from(highest) + total.ln();
    let logprob = |token: u32| (f64::from(logits[token as usize]) - normalizer) as f32;
    let best = likeliest(logits, count).into_iter();
    let best = best.map(|token| (token, logprob(token)));
    (Some(logprob(token)), best.collect())
}
