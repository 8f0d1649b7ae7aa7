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
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::kv_cache::{KvCacheManager, Reservation};
use super::owner::{Owner, Shares};
use super::prefill_budget::{PREFILL_ALONE, PrefillBudget};
use super::prefix_cache;
use super::request::{CancelToken, Request};
use super::work::WorkItem;
use super::workers::{Done, Workers};
use super::{Chunk, Generation};
use crate::error::{Error, Result};
use crate::model::{Append, BatchLogits, LogitsView, TokenSequence, extend_all};
use crate::prefix;
use crate::speculation::Load;

/// The oldest request gets one part in so many of the prefill budget, even if others have less to prefill.
const OLDEST_SHARE: usize = 4;

/// A request waits for another that is about to prefill so many more tokens that both start with.
const WORTH_WAITING: usize = 64;

/// Requests of a batch that fit the stack.
const FEW: usize = 4;

/// How long the place of a request that has ended is kept for the next one of its client.
const RETURNING: Duration = Duration::from_millis(100);

/// How long a step waits for a request with a response format, whose parser may take long.
const PATIENCE: Duration = Duration::from_millis(10);

/// How long it waits if there is no other request, before it looks for new ones.
const PAUSE: Duration = Duration::from_millis(20);

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
    owner: Owner,
    request: Request,
    /// What it may come to need of the KV cache, once it runs.
    reservation: Option<Reservation>,
    work: Option<WorkItem>,
    /// What was generated and not reported yet.
    chunks: Vec<Chunk>,
    /// How it ended, once it has.
    end: Option<Result<()>>,
}

/// What is known of a request while a thread works on it.
struct Parsing {
    id: RequestId,
    owner: Owner,
    cancel: CancelToken,
}

/// The requests of one target.
pub struct Scheduler {
    slots: usize,
    cache: KvCacheManager,
    waiting: VecDeque<Entry>,
    running: Vec<Entry>,
    /// Running requests whose parser is at work beside the passes of the others.
    parsing: Vec<Parsing>,
    workers: Workers<Entry>,
    /// Whose requests ended lately, and when.
    ended: Vec<(Owner, Instant)>,
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
            parsing: Vec::new(),
            workers: Workers::new(),
            ended: Vec::new(),
            budget: PrefillBudget::default(),
            events: Vec::new(),
            next_id: 0,
        }
    }

    /// Queues a request of its own.
    pub fn add(&mut self, request: Request) -> RequestId {
        self.add_for(Owner::of_call(None), request)
    }

    /// Queues an owner's request.
    pub fn add_for(&mut self, owner: Owner, request: Request) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.waiting.push_back(Entry {
            id,
            owner,
            request,
            reservation: None,
            work: None,
            chunks: Vec::new(),
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
        self.wait_for_parsers();
        self.retire_ended();
    }

    /// What happened since they were last taken, in order.
    pub fn events(&mut self) -> impl Iterator<Item = (RequestId, Event)> {
        self.events.drain(..)
    }

    /// Ends a request at the next step; one that has ended is ignored.
    pub fn abort(&mut self, id: RequestId) {
        let requests = self.running.iter().chain(&self.waiting);
        let tokens = requests.map(|entry| (entry.id, entry.request.cancel_token()));
        let parsing = self.parsing.iter();
        let parsing = parsing.map(|entry| (entry.id, entry.cancel.clone()));
        if let Some((_, token)) = tokens.chain(parsing).find(|(found, _)| *found == id) {
            token.cancel();
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
        for entry in self.parsing.drain(..) {
            let end = Event::End(Err(Error::Compute(reason.into())));
            self.events.push((entry.id, end));
        }
        // What is still at work is dropped when it is done.
        self.workers = Workers::new();
    }

    /// Whether all requests have ended.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.parsing.is_empty()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Requests that run.
    pub fn running(&self) -> usize {
        self.running.len() + self.parsing.len()
    }

    fn abort_cancelled(&mut self) {
        let requests = self.running.iter_mut().chain(&mut self.waiting);
        for entry in requests.filter(|entry| entry.request.is_cancelled()) {
            entry.abort();
        }
        let ended = |entry: &Entry| entry.end.is_some();
        while let Some(index) = self.waiting.iter().position(ended)
            && let Some(entry) = self.waiting.remove(index)
        {
            self.retire(entry);
        }
    }

    /// Moves requests from the queue into the batch, while there is room: those first whose owners have the fewest there.
    fn admit(&mut self) {
        self.ended.retain(|(_, ended)| ended.elapsed() <= RETURNING);
        let mut passed: SmallVec<[RequestId; FEW]> = SmallVec::new();
        while self.running() < self.slots
            && let Some(index) = self.next_waiting(&passed)
        {
            let request = &self.waiting[index].request;
            let cached = self.cache.cached_prefix(request);
            if self.shares_running_prefill(request, cached) {
                passed.push(self.waiting[index].id);
                continue;
            }
            // Copied before room is made for the rest, which may evict it.
            let prefix = self.fork_prefix(request, cached);
            // A request that nothing runs beside could only wait for requests that this scheduler can't advance.
            let force = self.running() == 0;
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

    /// The index of the request that runs next, but for those that were passed over; of several in the order of their arrival.
    /// No client, and none of its calls, gets more than its share of the places.
    fn next_waiting(&self, passed: &[RequestId]) -> Option<usize> {
        // Most steps find nobody there.
        if self.waiting.is_empty() {
            return None;
        }
        let running = self.running.iter().map(|entry| entry.owner);
        let running = running.chain(self.parsing.iter().map(|entry| entry.owner));
        let waiting = self.waiting.iter().map(|entry| entry.owner);
        let ended = self.ended.iter().map(|(owner, _)| *owner);
        let shares = Shares::new(self.slots, running, waiting.chain(ended));
        let waiting = self.waiting.iter().enumerate();
        let candidates = waiting.filter(|(_, entry)| !passed.contains(&entry.id));
        let with_room =
            candidates.filter_map(|(index, entry)| Some((shares.has_room(entry.owner)?, index)));
        with_room.min().map(|(_, index)| index)
    }

    /// Whether a running request is about to prefill much of what this one starts with.
    fn shares_running_prefill(&self, request: &Request, cached: usize) -> bool {
        self.running.iter().any(|other| {
            let other = &other.request;
            let shared = prefix::shared(other.history(), request.history());
            let prefilled = other.cache().len();
            other.scope() == request.scope()
                && other.tokens_to_prefill() > 0
                && prefilled < shared
                && shared >= cached + WORTH_WAITING
        })
    }

    /// The cache of a request's first tokens, out of the prefix cache or a running request; `None`: there is none.
    fn fork_prefix(&self, request: &Request, cached: usize) -> Option<TokenSequence> {
        let prompt = prefix_cache::to_prefill(request.history());
        let running = self.running.iter();
        let own = running.filter(|other| other.request.scope() == request.scope());
        let own = own.map(|other| {
            let cache = other.request.cache();
            let tokens = &other.request.history()[..cache.len()];
            (prefix::shared(tokens, prompt), cache)
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
        let mut parsed: SmallVec<[(usize, Load); FEW]> = SmallVec::new();
        for (index, (entry, share)) in self.running.iter_mut().zip(shares).enumerate() {
            if share.is_none() {
                load = load.without(Load::PLAIN);
            }
            // What another thread planned is kept. A prefill that got no tokens is planned anew.
            let kept = entry.work.as_ref().is_some_and(|work| !work.is_prefill());
            let planned = entry.end.is_some() || kept;
            if !planned && share.is_none() && self.slots > 1 && entry.request.is_constrained() {
                parsed.push((index, load));
            } else if !planned {
                entry.plan(load, share.unwrap_or(0));
            }
            load = load.and(entry.work.as_ref().map_or(Load::default(), WorkItem::load));
        }
        for (index, load) in parsed.into_iter().rev() {
            self.parse_aside(index, move |entry| entry.plan(load, 0));
        }
        self.wait_for_parsers();
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
                let alone = batch.len() == 1 && self.parsing.is_empty();
                self.complete(&batch, logits, alone);
            }
            Err(error) if batch.len() == 1 => self.running[batch[0]].end = Some(Err(error)),
            // Alone each of them meets its own error, or none.
            Err(_) => {
                for index in batch {
                    let entry = &mut self.running[index];
                    match entry.append().map(|append| extend_all(&mut [append])) {
                        Some(Ok(logits)) => entry.complete(logits.of(0), true),
                        Some(Err(error)) => entry.end = Some(Err(error)),
                        None => {}
                    }
                }
            }
        }
    }

    /// Completes the requests of a pass.
    fn complete(&mut self, batch: &[usize], logits: BatchLogits, alone: bool) {
        let logits = Arc::new(logits);
        let plain = Load {
            rows: batch.len() - 1,
            tokens: (batch.len() - 1) as f64,
        };
        // From the last on, so that the indices of the others stay.
        for (position, index) in batch.iter().copied().enumerate().rev() {
            let entry = &mut self.running[index];
            let is_prefill = entry.work.as_ref().is_some_and(WorkItem::is_prefill);
            if is_prefill || self.slots == 1 || !entry.request.is_constrained() {
                entry.complete(logits.of(position), alone);
                continue;
            }
            let logits = logits.clone();
            self.parse_aside(index, move |entry| {
                entry.complete(logits.of(position), alone);
                if entry.end.is_none() {
                    entry.plan(plain, 0);
                }
            });
        }
    }

    /// Hands a running request to another thread, since the parser of its response format may take long.
    fn parse_aside(&mut self, index: usize, task: impl FnOnce(&mut Entry) + Send + 'static) {
        let entry = self.running.remove(index);
        self.parsing.push(Parsing {
            id: entry.id,
            owner: entry.owner,
            cancel: entry.request.cancel_token(),
        });
        self.workers.start(entry, task);
    }

    /// Takes back the requests whose parsers are done; waits for the others only if there is nothing else to do.
    fn wait_for_parsers(&mut self) {
        if self.parsing.is_empty() {
            return;
        }
        let mut done = self.workers.done_within(PATIENCE);
        if done.is_empty() && self.running.is_empty() {
            done.extend(self.workers.next_within(PAUSE));
        }
        for Done {
            item: mut entry,
            panic,
            ..
        } in done
        {
            self.parsing.retain(|parsing| parsing.id != entry.id);
            if let Some(panic) = panic {
                tracing::error!("the parser of a response format: {panic}");
                let reason = "the response format's parser panicked: see the log";
                entry.end = Some(Err(Error::Compute(reason.into())));
            }
            self.running.push(entry);
        }
    }

    fn retire_ended(&mut self) {
        for entry in &mut self.running {
            entry.report_chunks(&mut self.events);
        }
        let ended = |entry: &Entry| entry.end.is_some();
        while let Some(index) = self.running.iter().position(ended) {
            let entry = self.running.remove(index);
            self.retire(entry);
        }
    }

    /// Reports how a request ended, and keeps its cache for later ones.
    fn retire(&mut self, mut entry: Entry) {
        entry.report_chunks(&mut self.events);
        let end = entry.end.take().unwrap_or(Ok(()));
        let scope = entry.request.scope();
        let (generation, tokens, sequence) = entry.request.into_parts();
        drop(entry.reservation);
        if end.is_ok() {
            self.cache.keep_prefix(scope, &tokens, sequence);
        }
        self.ended.push((entry.owner, Instant::now()));
        let end = end.map(|()| Box::new(generation));
        self.events.push((entry.id, Event::End(end)));
    }
}

impl Entry {
    fn append(&mut self) -> Option<Append<'_>> {
        self.request.append(self.work.as_ref()?)
    }

    /// Asks the request what it wants of the next pass.
    fn plan(&mut self, load: Load, prefill_budget: usize) {
        match self.request.plan(load, prefill_budget) {
            Ok(Some(work)) => self.work = Some(work),
            Ok(None) => self.end = Some(Ok(())),
            Err(error) => self.end = Some(Err(error)),
        }
    }

    fn complete(&mut self, logits: LogitsView<'_>, alone: bool) {
        let Some(work) = self.work.take() else { return };
        match self.request.complete(work, logits, alone) {
            Err(error) => self.end = Some(Err(error)),
            Ok(chunk) => {
                self.chunks.extend(chunk);
                if self.request.is_finished() {
                    self.end = Some(Ok(()));
                }
            }
        }
    }

    /// Reports what was generated.
    fn report_chunks(&mut self, events: &mut Vec<(RequestId, Event)>) {
        let chunks = self.chunks.drain(..);
        events.extend(chunks.map(|chunk| (self.id, Event::Chunk(chunk))));
    }

    /// Ends early, with the text that was held back.
    fn abort(&mut self) {
        self.work = None;
        self.end = Some(self.request.abort().map(|chunk| self.chunks.push(chunk)));
    }
}
