//! The executor of all requests, one or many: in each forward pass of the target the drafts of all that decode, and chunks of
//! the prompts of those that prefill (continuous batching with chunked prefill; Orca, OSDI'22; Sarathi-Serve, 2403.02310).
//!
//! Add requests, then step, and take the events of each step:
//!
//! ```text
//! let id = scheduler.add(request);
//! while !scheduler.is_idle() {
//!     scheduler.step();
//!     for (id, event) in scheduler.events() { ... }
//! }
//! ```
//!
//! What a request generates does not depend on its batch: each row is computed as if it were alone, and drafts change no text.

use std::collections::VecDeque;
use std::time::Instant;

use smallvec::SmallVec;

use super::kv_cache::{KvCacheManager, Reservation};
use super::prefill_budget::{PREFILL_ALONE, PrefillBudget};
use super::prefix_cache;
use super::request::Request;
use super::work::WorkItem;
use super::{Chunk, Generation};
use crate::error::{Error, Result};
use crate::model::{Append, LogitsView, TokenSequence, extend_all};
use crate::speculation::Load;

/// The oldest request gets one part in so many of the prefill budget, even if others have less to prefill.
const OLDEST_SHARE: usize = 4;

/// A request waits for another that is about to prefill so many more tokens that both start with.
const WORTH_WAITING: usize = 64;

/// Requests of a batch that fit the stack.
const FEW: usize = 4;

/// Names a request of one scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// What happens to a request.
#[derive(Debug)]
pub enum Event {
    /// The next tokens.
    Chunk(Chunk),
    /// The end: no event follows.
    End(Result<Box<Generation>>),
}

/// A request, from its arrival to its end.
struct Entry {
    id: RequestId,
    request: Request,
    /// What it may come to need of the KV cache, once it runs.
    reservation: Option<Reservation>,
    work: Option<WorkItem>,
    /// How it ended, once it has.
    end: Option<Result<()>>,
}

/// The requests of one target.
pub struct Scheduler {
    slots: usize,
    cache: KvCacheManager,
    waiting: VecDeque<Entry>,
    running: Vec<Entry>,
    budget: PrefillBudget,
    events: Vec<(RequestId, Event)>,
    next_id: u64,
}

impl Scheduler {
    /// Without requests. At most `slots` run at once; others wait, as do those that the cache has no room for.
    pub fn new(slots: usize, cache: KvCacheManager) -> Self {
        Self {
            slots,
            cache,
            waiting: VecDeque::new(),
            running: Vec::new(),
            budget: PrefillBudget::default(),
            events: Vec::new(),
            next_id: 0,
        }
    }

    /// Queues a request.
    pub fn add(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.waiting.push_back(Entry {
            id,
            request,
            reservation: None,
            work: None,
            end: None,
        });
        id
    }

    /// One forward pass of the target, and what comes before and after it.
    pub fn step(&mut self) {
        self.abort_cancelled();
        self.admit();
        self.plan();
        self.forward();
        self.retire_ended();
    }

    /// What happened since they were last taken, in order.
    pub fn events(&mut self) -> impl Iterator<Item = (RequestId, Event)> {
        self.events.drain(..)
    }

    /// Ends a request at the next step; one that has ended is ignored.
    pub fn abort(&mut self, id: RequestId) {
        let mut requests = self.running.iter().chain(&self.waiting);
        if let Some(entry) = requests.find(|entry| entry.id == id) {
            entry.request.cancel_token().cancel();
        }
    }

    /// Ends all requests with an error.
    pub fn fail_all(&mut self, reason: &str) {
        let requests: Vec<Entry> = self
            .running
            .drain(..)
            .chain(self.waiting.drain(..))
            .collect();
        for mut entry in requests {
            entry.end = Some(Err(Error::Compute(reason.into())));
            self.retire(entry);
        }
    }

    /// Whether all requests have ended.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Requests that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    fn abort_cancelled(&mut self) {
        let requests = self.running.iter_mut().chain(&mut self.waiting);
        for entry in requests.filter(|entry| entry.request.is_cancelled()) {
            entry.abort(&mut self.events);
        }
        let ended = |entry: &Entry| entry.end.is_some();
        while let Some(index) = self.waiting.iter().position(ended)
            && let Some(entry) = self.waiting.remove(index)
        {
            self.retire(entry);
        }
    }

    /// Moves requests from the queue into the batch, in their order, while there is room.
    fn admit(&mut self) {
        let mut index = 0;
        while index < self.waiting.len() && self.running.len() < self.slots {
            let request = &self.waiting[index].request;
            let cached = self.cache.cached_prefix(request);
            if self.shares_running_prefill(request, cached) {
                index += 1;
                continue;
            }
            // Copied before room is made for the rest, which may evict it.
            let prefix = self.fork_prefix(request, cached);
            // A request that nothing runs beside could only wait for requests that this scheduler can't advance.
            let force = self.running.is_empty();
            let Some(reservation) = self.cache.reserve(request, force) else {
                return;
            };
            let Some(mut entry) = self.waiting.remove(index) else {
                return;
            };
            entry.reservation = Some(reservation);
            if let Some(prefix) = prefix {
                entry.request.adopt_prefix(prefix);
            }
            self.running.push(entry);
        }
    }

    /// Whether a running request is about to prefill much of what this one starts with.
    fn shares_running_prefill(&self, request: &Request, cached: usize) -> bool {
        request.shares_prefixes()
            && self.running.iter().any(|other| {
                let other = &other.request;
                let shared = prefix_cache::shared(other.history(), request.history());
                let prefilled = other.cache().len();
                other.scope() == request.scope()
                    && other.tokens_to_prefill() > 0
                    && prefilled < shared
                    && shared >= cached + WORTH_WAITING
            })
    }

    /// The cache of a request's first tokens, out of the prefix cache or a running request; `None`: there is none.
    fn fork_prefix(&self, request: &Request, cached: usize) -> Option<TokenSequence> {
        if !request.shares_prefixes() {
            return None;
        }
        let prompt = prefix_cache::to_prefill(request.history());
        let running = self.running.iter();
        let own = running.filter(|other| other.request.scope() == request.scope());
        let own = own.map(|other| {
            let cache = other.request.cache();
            let tokens = &other.request.history()[..cache.len()];
            (prefix_cache::shared(tokens, prompt), cache)
        });
        let longest = own.max_by_key(|(shared, _)| *shared);
        let longest = longest.filter(|(shared, _)| *shared > cached);
        longest
            .and_then(|(shared, cache)| prefix_cache::fork(cache, shared))
            .or_else(|| self.cache.fork_prefix(request))
    }

    /// Asks each request what it wants of the pass: one after the other, each knowing what those before it took.
    fn plan(&mut self) {
        // The first to be asked sees the emptiest pass.
        if self.running.len() > 1 {
            self.running.rotate_left(1);
        }
        let shares = self.prefill_shares();
        let decoding = shares.iter().filter(|share| share.is_none()).count();
        let mut load = Load {
            rows: decoding,
            tokens: decoding as f64,
        };
        for (entry, share) in self.running.iter_mut().zip(shares) {
            if share.is_none() {
                load = load.without(Load::PLAIN);
            }
            if entry.end.is_some() {
                continue;
            }
            match entry.request.plan(load, share.unwrap_or(0)) {
                Ok(work) => {
                    load = load.and(work.as_ref().map_or(Load::default(), WorkItem::load));
                    entry.work = work;
                    if entry.work.is_none() {
                        entry.end = Some(Ok(()));
                    }
                }
                Err(error) => entry.end = Some(Err(error)),
            }
        }
    }

    /// How many tokens of its prompt each request may prefill; `None`: it decodes.
    ///
    /// Those with the least to prefill come first, since most answers start the soonest that way; but the oldest request always
    /// gets a share.
    fn prefill_shares(&self) -> SmallVec<[Option<usize>; FEW]> {
        let to_prefill = |entry: &Entry| match entry.end {
            None => entry.request.tokens_to_prefill(),
            Some(_) => 0,
        };
        let mut shares: SmallVec<[Option<usize>; FEW]> = self
            .running
            .iter()
            .map(|entry| (to_prefill(entry) > 0).then_some(0))
            .collect();
        let mut prefilling: SmallVec<[usize; FEW]> = (0..shares.len())
            .filter(|index| shares[*index].is_some())
            .collect();
        let mut left = match prefilling.len() == shares.len() {
            true => PREFILL_ALONE,
            false => self.budget.tokens(),
        };
        let oldest = prefilling
            .iter()
            .copied()
            .min_by_key(|index| self.running[*index].request.started());
        prefilling.sort_by_key(|index| to_prefill(&self.running[*index]));
        let first = oldest.map(|oldest| (oldest, left / OLDEST_SHARE));
        let rest = prefilling.into_iter().map(|index| (index, usize::MAX));
        for (index, most) in first.into_iter().chain(rest) {
            let has = shares[index].unwrap_or(0);
            let more = (to_prefill(&self.running[index]) - has).min(left).min(most);
            shares[index] = Some(has + more);
            left -= more;
        }
        shares
    }

    /// The pass, and what it means to each request.
    fn forward(&mut self) {
        let mut batch: SmallVec<[usize; FEW]> = SmallVec::new();
        let mut appends: SmallVec<[Append<'_>; FEW]> = SmallVec::new();
        let (mut decoded, mut prefilled) = (0, 0);
        for (index, entry) in self.running.iter_mut().enumerate() {
            let is_prefill = entry.work.as_ref().is_some_and(WorkItem::is_prefill);
            if let Some(append) = entry.append() {
                match is_prefill {
                    true => prefilled += append.tokens.len(),
                    false => decoded += append.tokens.len(),
                }
                batch.push(index);
                appends.push(append);
            }
        }
        if appends.is_empty() {
            return;
        }
        let began = Instant::now();
        let extended = extend_all(&mut appends);
        drop(appends);
        match extended {
            Ok(logits) => {
                let seconds = began.elapsed().as_secs_f64();
                self.budget.observe(decoded, prefilled, seconds);
                let alone = batch.len() == 1;
                for (position, index) in batch.into_iter().enumerate() {
                    let logits = logits.of(position);
                    self.running[index].complete(logits, alone, &mut self.events);
                }
            }
            Err(error) if batch.len() == 1 => self.running[batch[0]].end = Some(Err(error)),
            // Alone each of them meets its own error, or none.
            Err(_) => {
                for index in batch {
                    let entry = &mut self.running[index];
                    match entry.append().map(|append| extend_all(&mut [append])) {
                        Some(Ok(logits)) => entry.complete(logits.of(0), true, &mut self.events),
                        Some(Err(error)) => entry.end = Some(Err(error)),
                        None => {}
                    }
                }
            }
        }
    }

    fn retire_ended(&mut self) {
        let ended = |entry: &Entry| entry.end.is_some();
        while let Some(index) = self.running.iter().position(ended) {
            let entry = self.running.remove(index);
            self.retire(entry);
        }
    }

    /// Reports how a request ended, and keeps its cache for later ones.
    fn retire(&mut self, mut entry: Entry) {
        let end = entry.end.take().unwrap_or(Ok(()));
        let (scope, shares) = (entry.request.scope(), entry.request.shares_prefixes());
        let (generation, tokens, sequence) = entry.request.into_parts();
        drop(entry.reservation);
        if end.is_ok() && shares {
            self.cache.keep_prefix(scope, &tokens, sequence);
        }
        let end = end.map(|()| Box::new(generation));
        self.events.push((entry.id, Event::End(end)));
    }
}

impl Entry {
    fn append(&mut self) -> Option<Append<'_>> {
        self.request.append(self.work.as_ref()?)
    }

    fn complete(
        &mut self,
        logits: LogitsView<'_>,
        alone: bool,
        events: &mut Vec<(RequestId, Event)>,
    ) {
        let Some(work) = self.work.take() else { return };
        match self.request.complete(work, logits, alone) {
            Err(error) => self.end = Some(Err(error)),
            Ok(chunk) => {
                events.extend(chunk.map(|chunk| (self.id, Event::Chunk(chunk))));
                if self.request.is_finished() {
                    self.end = Some(Ok(()));
                }
            }
        }
    }

    /// Ends early, with the text that was held back.
    fn abort(&mut self, events: &mut Vec<(RequestId, Event)>) {
        self.end = Some(self.request.abort().map(|chunk| {
            events.push((self.id, Event::Chunk(chunk)));
        }));
    }
}
