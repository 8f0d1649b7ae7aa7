//! Many requests at once: in each pass of the target the drafts of all that write, and pieces of the prompts of those that wait
//! to (continuous batching with chunked prefill; Orca, OSDI'22; Sarathi-Serve, 2403.02310).
//!
//! What a request writes doesn't depend on its company: rows are computed each as if alone, and drafts change no text.

use std::collections::VecDeque;
use std::time::Instant;

use super::pace::{Pace, READ_ALONE};
use super::prefixes::{self, Found, Prefixes};
use super::session::{Session, Turn};
use super::{Chunk, Generation};
use crate::error::{Error, Result};
use crate::model::{Append, LogitsView, TokenSequence, extend_all};
use crate::speculation::Load;

/// Share of what is read that is for the one who has waited the longest, whoever else has less to read.
const OLDEST_SHARE: usize = 4;

/// A request waits for another that is about to read so many tokens that both begin with.
const WORTH_WAITING: usize = 64;

/// Tokens of the smallest piece of a cache, and those of a tree, which lie in it for a moment.
const PAGE: usize = 64;

/// What a scheduler takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that are computed at once; others wait.
    pub slots: usize,
    /// Tokens of all caches together; `None`: as many as come.
    pub cache_tokens: Option<usize>,
}

impl Limits {
    /// Fails for a request that could never have its turn.
    pub fn check(&self, session: &Session) -> Result<()> {
        let needed = reserved(session);
        match self.cache_tokens {
            Some(most) if needed > most => {
                let expected = format!(
                    "prompt and answer to fit the {most} tokens that all caches hold together"
                );
                let asked =
                    session.most_tokens() - session.history().len().min(session.most_tokens());
                Err(Error::invalid("max_new_tokens", asked, expected))
            }
            _ => Ok(()),
        }
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Event {
    /// The next tokens.
    Chunk(Chunk),
    /// The end: no event follows.
    End(Result<Box<Generation>>),
}

/// Who is told; `false`: nobody listens any more, and the request ends.
pub type Listener = Box<dyn FnMut(Event) -> bool + Send>;

/// A request, from its arrival to its end.
struct Request {
    session: Session,
    listener: Listener,
    turn: Option<Turn>,
    /// What it came to, once it is over.
    end: Option<Result<()>>,
}

/// The requests of one target.
pub struct Scheduler {
    limits: Limits,
    waiting: VecDeque<Request>,
    running: Vec<Request>,
    prefixes: Prefixes,
    pace: Pace,
}

impl Scheduler {
    /// Without requests yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: VecDeque::new(),
            running: Vec::new(),
            prefixes: Prefixes::default(),
            pace: Pace::default(),
        }
    }

    /// Takes a request, which waits for its turn. One that could never have its turn ends at once.
    pub fn submit(&mut self, session: Session, listener: Listener) {
        let mut request = Request {
            session,
            listener,
            turn: None,
            end: None,
        };
        match self.limits.check(&request.session) {
            Ok(()) => self.waiting.push_back(request),
            Err(error) => {
                request.end = Some(Err(error));
                self.retire(request);
            }
        }
    }

    /// Whether nothing is left to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Requests that wait, and those that are computed.
    pub fn requests(&self) -> [usize; 2] {
        [self.waiting.len(), self.running.len()]
    }

    /// Tokens of caches that are taken: by requests as many as they may come to need, and by earlier texts that are kept.
    pub fn cached_tokens(&self) -> usize {
        self.reserved() + self.prefixes.tokens()
    }

    /// Ends all requests with an error.
    pub fn abandon(&mut self, reason: &str) {
        let requests: Vec<Request> = self
            .running
            .drain(..)
            .chain(self.waiting.drain(..))
            .collect();
        for mut request in requests {
            request.end = Some(Err(Error::Compute(reason.into())));
            self.retire(request);
        }
    }

    /// One pass of the target, and what comes before and after it.
    pub fn step(&mut self) {
        self.cut_off_cancelled();
        self.admit();
        self.take_turns();
        self.compute();
        self.retire_ended();
    }

    fn cut_off_cancelled(&mut self) {
        let requests = self.running.iter_mut().chain(&mut self.waiting);
        for request in requests.filter(|request| request.session.is_cancelled()) {
            request.cut_off();
        }
        let (ended, waiting): (VecDeque<_>, _) = self
            .waiting
            .drain(..)
            .partition(|request| request.end.is_some());
        self.waiting = waiting;
        for request in ended {
            self.retire(request);
        }
    }

    /// Lets requests in, the one that waits the longest first, as far as there is room.
    fn admit(&mut self) {
        let mut place = 0;
        while place < self.waiting.len() && self.running.len() < self.limits.slots {
            let session = &self.waiting[place].session;
            let kept = self.prefixes.find(session.history());
            if self.is_read_meanwhile(session, kept) {
                place += 1;
                continue;
            }
            let Some(mut request) = self.waiting.remove(place) else {
                return;
            };
            // Before there is room made: what it begins with may be among what goes.
            let beginning = self.beginning(&request.session, kept);
            if !self.make_room(reserved(&request.session)) {
                self.waiting.insert(place, request);
                return;
            }
            if let Some(beginning) = beginning {
                request.session.begin_with(beginning);
            }
            self.running.push(request);
        }
    }

    /// Whether another request is about to read much of what this one begins with.
    fn is_read_meanwhile(&self, session: &Session, kept: Option<Found>) -> bool {
        let kept = kept.map_or(0, |kept| kept.tokens);
        session.shares_prefixes()
            && self.running.iter().any(|other| {
                let shared = prefixes::shared(other.session.history(), session.history());
                let read = other.session.cached().len();
                other.session.unread() > 0 && read < shared && shared >= kept + WORTH_WAITING
            })
    }

    /// Whether so many tokens more may be cached, perhaps in place of earlier texts.
    fn make_room(&mut self, tokens: usize) -> bool {
        let Some(most) = self.limits.cache_tokens else {
            return true;
        };
        let reserved = self.reserved() + tokens;
        // Earlier texts are not dropped in vain.
        if reserved > most {
            return false;
        }
        while reserved + self.prefixes.tokens() > most && self.prefixes.drop_oldest() {}
        true
    }

    fn reserved(&self) -> usize {
        let running = self.running.iter();
        running.map(|request| reserved(&request.session)).sum()
    }

    /// What was read of a request's prompt before, for others or beside it; `None`: nothing.
    fn beginning(&mut self, session: &Session, kept: Option<Found>) -> Option<TokenSequence> {
        if !session.shares_prefixes() {
            return None;
        }
        let text = prefixes::readable(session.history());
        let beside = self.running.iter().map(|other| {
            let cached = other.session.cached();
            let shared = prefixes::shared(&other.session.history()[..cached.len()], text);
            (shared, cached)
        });
        let beside = beside.max_by_key(|(shared, _)| *shared);
        match (kept, beside) {
            (Some(kept), beside) if beside.is_none_or(|(shared, _)| kept.tokens >= shared) => {
                self.prefixes.fork(kept)
            }
            (_, beside) => beside.and_then(|(shared, cached)| prefixes::fork(cached, shared)),
        }
    }

    /// Asks every request what it wants of the pass: one after the other, each knowing what those before it took.
    fn take_turns(&mut self) {
        // Whoever is asked first sees the emptiest pass.
        if !self.running.is_empty() {
            self.running.rotate_left(1);
        }
        let shares = self.shares();
        let writing = shares.iter().filter(|share| share.is_none()).count();
        let mut load = Load {
            rows: writing,
            tokens: writing as f64,
        };
        for (request, share) in self.running.iter_mut().zip(shares) {
            if share.is_none() {
                load = load.without(Load::PLAIN);
            }
            if request.end.is_some() {
                continue;
            }
            match request.session.turn(load, share.unwrap_or(0)) {
                Ok(turn) => {
                    load = load.and(turn.as_ref().map_or(Load::default(), Turn::load));
                    request.turn = turn;
                    if request.turn.is_none() {
                        request.end = Some(Ok(()));
                    }
                }
                Err(error) => request.end = Some(Err(error)),
            }
        }
    }

    /// How many tokens of its prompt each request may read; `None`: it writes.
    ///
    /// Those with the least to read come first, since most answers begin the soonest that way; but the one that waits the
    /// longest is never passed over.
    fn shares(&self) -> Vec<Option<usize>> {
        let unread = |request: &Request| match request.end {
            None => request.session.unread(),
            Some(_) => 0,
        };
        let mut shares: Vec<Option<usize>> = self
            .running
            .iter()
            .map(|request| (unread(request) > 0).then_some(0))
            .collect();
        let mut readers: Vec<usize> = (0..shares.len())
            .filter(|place| shares[*place].is_some())
            .collect();
        let mut left = match readers.len() == shares.len() {
            true => READ_ALONE,
            false => self.pace.most_read(),
        };
        let oldest = readers
            .iter()
            .copied()
            .min_by_key(|place| self.running[*place].session.started());
        readers.sort_by_key(|place| unread(&self.running[*place]));
        let first = oldest.map(|oldest| (oldest, left / OLDEST_SHARE));
        for (place, most) in first
            .into_iter()
            .chain(readers.into_iter().map(|place| (place, usize::MAX)))
        {
            let has = shares[place].unwrap_or(0);
            let more = (unread(&self.running[place]) - has).min(left).min(most);
            shares[place] = Some(has + more);
            left -= more;
        }
        shares
    }

    /// The pass, and what it means to each.
    fn compute(&mut self) {
        let mut places = Vec::new();
        let mut appends = Vec::new();
        let (mut written, mut read) = (0, 0);
        for (place, request) in self.running.iter_mut().enumerate() {
            let reads = request.turn.as_ref().is_some_and(Turn::reads);
            if let Some(append) = request.append() {
                match reads {
                    true => read += append.tokens.len(),
                    false => written += append.tokens.len(),
                }
                places.push(place);
                appends.push(append);
            }
        }
        if appends.is_empty() {
            return;
        }
        let began = Instant::now();
        match extend_all(&mut appends) {
            Ok(logits) => {
                self.pace
                    .observe(written, read, began.elapsed().as_secs_f64());
                let alone = places.len() == 1;
                for (index, place) in places.into_iter().enumerate() {
                    self.running[place].end_turn(logits.of(index), alone);
                }
            }
            Err(error) if places.len() == 1 => {
                self.running[places[0]].end = Some(Err(error));
            }
            // Alone each of them meets its own error, or none.
            Err(_) => {
                for place in places {
                    let request = &mut self.running[place];
                    match request.append().map(|append| extend_all(&mut [append])) {
                        Some(Ok(logits)) => request.end_turn(logits.of(0), true),
                        Some(Err(error)) => request.end = Some(Err(error)),
                        None => {}
                    }
                }
            }
        }
    }

    fn retire_ended(&mut self) {
        let (ended, running) = self
            .running
            .drain(..)
            .partition(|request| request.end.is_some());
        self.running = running;
        let ended: Vec<Request> = ended;
        for request in ended {
            self.retire(request);
        }
    }

    /// Tells how a request ended; what the target has read of it may serve others.
    fn retire(&mut self, mut request: Request) {
        let end = request.end.take().unwrap_or(Ok(()));
        let shares = request.session.shares_prefixes();
        let (generation, tokens, cache) = request.session.into_parts();
        if end.is_ok() && shares {
            self.prefixes.keep(&tokens, cache);
            self.make_room(0);
        }
        (request.listener)(Event::End(end.map(|()| Box::new(generation))));
    }
}

impl Request {
    fn append(&mut self) -> Option<Append<'_>> {
        self.session.append(self.turn.as_ref()?)
    }

    fn end_turn(&mut self, logits: LogitsView<'_>, alone: bool) {
        let Some(turn) = self.turn.take() else { return };
        match self.session.end_turn(turn, logits, alone) {
            Err(error) => self.end = Some(Err(error)),
            Ok(chunk) => {
                let listens = chunk.is_none_or(|chunk| (self.listener)(Event::Chunk(chunk)));
                if self.session.is_finished() {
                    self.end = Some(Ok(()));
                } else if !listens {
                    self.cut_off();
                }
            }
        }
    }

    /// Ends before its time, with what is written.
    fn cut_off(&mut self) {
        self.end = Some(self.session.cut_off().map(|chunk| {
            (self.listener)(Event::Chunk(chunk));
        }));
    }
}

/// Tokens of the cache that a request may come to need.
fn reserved(session: &Session) -> usize {
    session.most_tokens().next_multiple_of(PAGE) + PAGE
}
