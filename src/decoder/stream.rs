//! One generation on the caller's thread: added to a scheduler, and stepped until it has ended.

use std::collections::VecDeque;

use crate::engine::{CancelToken, Chunk, Event, Generation, KvCacheManager, Request, Scheduler};
use crate::error::{Error, Result};

/// A generation in progress, chunk by chunk. Dropping it ends the generation.
pub struct Stream {
    scheduler: Scheduler,
    cancel: CancelToken,
    chunks: VecDeque<Chunk>,
    end: Option<Result<Generation>>,
}

impl Stream {
    pub(super) fn new(request: Request, cache: &KvCacheManager) -> Self {
        let cancel = request.cancel_token();
        let mut scheduler = Scheduler::new(1, cache.clone());
        scheduler.add(request);
        Self {
            scheduler,
            cancel,
            chunks: VecDeque::new(),
            end: None,
        }
    }

    /// A handle that ends the generation from elsewhere.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// One forward pass: a chunk of the prompt, or a step that generates tokens. `false` once the generation has ended.
    ///
    /// The iterator and [`Self::run`] make these calls themselves: this is for a caller with something to do between passes.
    pub fn step(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        self.scheduler.step();
        for (_, event) in self.scheduler.events() {
            match event {
                Event::Chunk(chunk) => self.chunks.push_back(chunk),
                Event::End(end) => self.end = Some(end.map(|generation| *generation)),
            }
        }
        self.end.is_none()
    }

    /// Whether the generation has ended; chunks of it may still be waiting.
    pub fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The next chunk of those that are generated already.
    pub fn next_ready(&mut self) -> Option<Chunk> {
        self.chunks.pop_front()
    }

    /// Runs to the end.
    pub fn run(self) -> Result<Generation> {
        self.run_with(|| Ok(()))
    }

    /// Runs to the end, with a call after each forward pass, whose error ends it.
    pub fn run_with(mut self, mut after_pass: impl FnMut() -> Result<()>) -> Result<Generation> {
        loop {
            let goes_on = self.step();
            self.chunks.clear();
            after_pass()?;
            if !goes_on {
                return self.into_generation();
            }
        }
    }

    /// What was generated; a generation that goes on is cancelled.
    pub fn into_generation(mut self) -> Result<Generation> {
        self.cancel.cancel();
        while self.step() {}
        let lost = || Error::Compute("the generation ended without a result".into());
        self.end.take().ok_or_else(lost)?
    }
}

impl Iterator for Stream {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.chunks.is_empty() && self.step() {}
        if let Some(chunk) = self.chunks.pop_front() {
            return Some(Ok(chunk));
        }
        match self.end.take_if(|end| end.is_err()) {
            Some(Err(error)) => {
                self.end = Some(Err(Error::Compute(format!(
                    "the generation failed: {error}"
                ))));
                Some(Err(error))
            }
            _ => None,
        }
    }
}
