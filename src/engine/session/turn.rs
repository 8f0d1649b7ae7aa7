//! A request's part in a pass of the target that it shares with others.

use std::ops::Range;
use std::time::Instant;

use super::{Fed, Session};
use crate::engine::{Chunk, FinishReason, Generation};
use crate::error::Result;
use crate::model::{Append, LogitsView, Parents, TokenSequence};
use crate::speculation::{Draft, Load};

/// What a request wants of the target's next pass.
pub struct Turn(Work);

enum Work {
    /// To read these tokens of the prompt.
    Read(Range<usize>),
    /// To verify a draft.
    Verify {
        draft: Draft,
        fed: Fed,
        /// When the draft was asked for, and when it was there.
        times: [Instant; 2],
        /// Tokens that it is expected to write.
        expected: f64,
    },
}

impl Turn {
    /// Whether it is about the prompt.
    pub fn reads(&self) -> bool {
        matches!(self.0, Work::Read(_))
    }

    /// What it takes of the pass; nothing where it reads, which costs the same whatever the others do.
    pub fn load(&self) -> Load {
        match &self.0 {
            Work::Read(_) => Load::default(),
            Work::Verify { fed, expected, .. } => Load {
                rows: fed.tokens.len(),
                tokens: *expected,
            },
        }
    }
}

impl Session {
    /// Tokens of the prompt that are still to be read before the first is written.
    pub fn unread(&self) -> usize {
        self.next_piece(usize::MAX / 2).len()
    }

    /// Tokens of the prompt, and those that may be written.
    pub fn most_tokens(&self) -> usize {
        let most = self
            .stats
            .prompt_tokens
            .saturating_add(self.config.max_new_tokens);
        most.min(self.target.context_length())
    }

    /// The tokens so far.
    pub fn history(&self) -> &[u32] {
        &self.history
    }

    /// The target's cache of the first of them.
    pub fn cached(&self) -> &TokenSequence {
        &self.target
    }

    /// Whether it can begin with another request's cache: not where drafts want to see what the target read.
    pub fn shares_prefixes(&self) -> bool {
        self.controller.watched().is_empty()
    }

    /// Begins with a cache that holds the first tokens of the prompt.
    pub fn begin_with(&mut self, cache: TokenSequence) {
        debug_assert!(self.target.is_empty() && cache.len() < self.history.len());
        self.stats.cached_tokens = cache.len();
        self.target = cache;
    }

    /// What is wanted of the next pass, which reads at most so many tokens of prompts, and has this to do for others; `None`:
    /// nothing, since all is written.
    pub fn turn(&mut self, load: Load, most_read: usize) -> Result<Option<Turn>> {
        if self.finish.is_some() {
            return Ok(None);
        }
        let piece = self.next_piece(most_read);
        if !piece.is_empty() || self.unread() > 0 {
            return Ok(Some(Turn(Work::Read(piece))));
        }
        if self.output.tokens.is_empty() {
            self.stats.prefill = self.started.elapsed();
        }
        let began = Instant::now();
        let plan = self.propose(load)?;
        Ok(Some(Turn(Work::Verify {
            fed: Fed::new(self.history[self.history.len() - 1], &plan.draft),
            draft: plan.draft,
            times: [began, Instant::now()],
            expected: plan.prospect.tokens,
        })))
    }

    /// What the pass appends for a turn; `None`: nothing yet.
    pub fn append<'a>(&'a mut self, turn: &'a Turn) -> Option<Append<'a>> {
        let (tokens, parents, rows) = match &turn.0 {
            Work::Read(piece) => (&self.history[piece.clone()], Parents::Chain, 0),
            Work::Verify { fed, .. } => (&fed.tokens[..], fed.parents(), fed.tokens.len()),
        };
        (!tokens.is_empty()).then_some(Append {
            sequence: &mut self.target,
            tokens,
            parents,
            rows,
        })
    }

    /// Ends a turn with what the pass gave it; `None`: nothing was written yet.
    ///
    /// `alone`: it shared the pass with none, so that its time says what passes cost.
    pub fn end_turn(
        &mut self,
        turn: Turn,
        logits: LogitsView<'_>,
        alone: bool,
    ) -> Result<Option<Chunk>> {
        match turn.0 {
            Work::Read(piece) => self.observe_piece(piece, logits).map(|()| None),
            Work::Verify { draft, times, .. } => {
                let verdict = self.verify(&draft, logits)?;
                if alone {
                    self.controller
                        .time(&self.history, &draft, times[1].elapsed());
                }
                self.conclude(&draft, &verdict, logits, times).map(Some)
            }
        }
    }

    /// Ends the generation before its time, with what is left of its text.
    pub fn cut_off(&mut self) -> Result<Chunk> {
        self.end(FinishReason::Cancelled, Chunk::default())
    }

    /// When it came.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Whether all is written.
    pub fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether it was asked to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// What was generated; and the tokens with the cache of the first of them, for others to begin with.
    pub fn into_parts(self) -> (Generation, Vec<u32>, TokenSequence) {
        let generation = Generation {
            text: self.output.text,
            tokens: self.output.tokens,
            finish_reason: self.finish.unwrap_or(FinishReason::Cancelled),
            stats: self.stats,
        };
        (generation, self.history, self.target)
    }
}
