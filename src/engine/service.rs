//! A scheduler on a thread of its own, which takes requests from any thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::kv_cache::KvCacheManager;
use super::owner::{ClientId, Owner};
use super::request::Request;
use super::scheduler::{Event, RequestId, Scheduler};
use crate::error::{Error, Result};
use crate::fork;
use crate::panics::{self, Caught};
use crate::quota::{Exceeded, Quota, Taken};

/// One client leaves one place in so many of the queue to others.
const LEFT_TO_OTHERS: usize = 4;

/// Receives the events of a request; `false`: the client disconnected, and the request ends.
pub type Listener = Box<dyn FnMut(Event) -> bool + Send>;

/// A handle to the thread. The thread ends with the last handle, once all requests have.
#[derive(Clone)]
pub struct Service {
    sender: Sender<Submitted>,
    status: Arc<Status>,
    cache: KvCacheManager,
}

/// What the thread receives.
type Submitted = (Owner, Request, Listener);

/// There is no place for another request, neither to run nor to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueFull {
    /// All are taken.
    ForAll,
    /// The client has as many as one may have.
    ForClient,
}

/// A request's place, to run or to wait: given back when it is dropped, however the request ends.
pub struct Admission {
    owner: Owner,
    _place: Taken<ClientId>,
}

/// What the thread is doing, for metrics.
pub struct Status {
    /// Those of requests that were accepted and have not ended.
    places: Arc<Quota<ClientId>>,
    running: AtomicUsize,
}

impl Status {
    /// Requests that run.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.places.taken().saturating_sub(self.running())
    }
}

impl Service {
    /// Starts the thread. `slots` requests run at once, and `queue` more may wait.
    pub fn start(slots: usize, queue: usize, cache: KvCacheManager) -> Result<Self> {
        let (sender, receiver) = channel();
        let of_client = queue - queue / LEFT_TO_OTHERS;
        let status = Arc::new(Status {
            places: Arc::new(Quota::new(
                slots.saturating_add(queue),
                slots.saturating_add(of_client),
            )),
            running: AtomicUsize::new(0),
        });
        let (shared, scheduler) = (status.clone(), Scheduler::new(slots, cache.clone()));
        let thread = std::thread::Builder::new().name("specdec-scheduler".into());
        let thread = thread.spawn(move || run(scheduler, &receiver, &shared));
        thread.map_err(|error| Error::Compute(format!("no thread for the scheduler: {error}")))?;
        Ok(Self {
            sender,
            status,
            cache,
        })
    }

    /// Fails for a request that needs more than the whole KV cache.
    pub fn check(&self, request: &Request) -> Result<()> {
        self.cache
            .check(request.history().len(), request.max_tokens())
    }

    /// A place for an owner's request, taken before any work is done for it: so that work is limited, too.
    pub fn admit(&self, owner: Owner) -> Result<Admission, QueueFull> {
        let place = self.status.places.take(owner.client, 1);
        let place = place.map_err(|exceeded| match exceeded {
            Exceeded::OfAll => QueueFull::ForAll,
            Exceeded::OfClient => QueueFull::ForClient,
        })?;
        Ok(Admission {
            owner,
            _place: place,
        })
    }

    /// How many requests of one client are admitted at once.
    pub fn places_of_client(&self) -> usize {
        self.status.places.of_client()
    }

    /// Takes a request that was admitted; the listener receives its events.
    pub fn submit(&self, request: Request, admission: Admission, mut listener: Listener) {
        let owner = admission.owner;
        let mut admission = Some(admission);
        let listener: Listener = Box::new(move |event| {
            if matches!(event, Event::End(_)) {
                drop(admission.take());
            }
            listener(event)
        });
        if let Err(unsent) = self.sender.send((owner, request, listener)) {
            let (.., mut listener) = unsent.0;
            listener(Event::End(Err(Error::Compute(
                "the scheduler's thread has ended".into(),
            ))));
        }
    }

    /// What the thread is doing.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Tokens of the KV cache; `None`: no limit.
    pub fn cache_capacity(&self) -> Option<usize> {
        self.cache.capacity()
    }

    /// Tokens of the KV cache that are taken, by running requests and by prefixes that are kept.
    pub fn cached_tokens(&self) -> usize {
        self.cache.used()
    }
}

fn run(mut scheduler: Scheduler, requests: &Receiver<Submitted>, status: &Status) {
    let mut listeners: HashMap<RequestId, Listener> = HashMap::new();
    let mut disconnected: Vec<RequestId> = Vec::new();
    let mut working = None;
    loop {
        if scheduler.is_idle() {
            let Ok((owner, request, listener)) = requests.recv() else {
                return;
            };
            working = fork::work().ok();
            listeners.insert(scheduler.add_for(owner, request), listener);
        }
        while let Ok((owner, request, listener)) = requests.try_recv() {
            listeners.insert(scheduler.add_for(owner, request), listener);
        }
        // A user's model may panic; later requests are not affected.
        if let Err(Caught(panic)) = panics::catch(|| scheduler.step()) {
            tracing::error!("the target: {panic}");
            scheduler.fail_all("the target panicked: see the log");
        }
        // Before an end is reported: the one who is told may fork.
        if scheduler.is_idle() {
            drop(working.take());
        }
        // Counted before an end is reported, so that the next request finds its place free.
        status.running.store(scheduler.running(), Ordering::Relaxed);
        for (id, event) in scheduler.events() {
            let ended = matches!(event, Event::End(_));
            let Some(listener) = listeners.get_mut(&id) else {
                continue;
            };
            if !listener(event) {
                disconnected.push(id);
            }
            if ended {
                listeners.remove(&id);
            }
        }
        disconnected.drain(..).for_each(|id| scheduler.abort(id));
    }
}
