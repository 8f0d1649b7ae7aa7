//! The thread on which a scheduler runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::scheduler::{Event, Limits, Listener, Scheduler};
use super::session::Session;
use crate::error::{Error, Result};

/// Takes requests from any thread. Its own thread ends with the last handle, once all requests have.
#[derive(Clone)]
pub struct Service {
    sender: Sender<(Session, Listener)>,
    status: Arc<Status>,
    limits: Limits,
    most_requests: usize,
}

/// There is no room for another request: neither to compute it nor to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// What the thread does, for whoever looks.
#[derive(Debug, Default)]
pub struct Status {
    /// Requests that were taken and have not ended.
    requests: AtomicUsize,
    running: AtomicUsize,
    cached_tokens: AtomicUsize,
}

impl Status {
    /// Requests that are computed.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        let requests = self.requests.load(Ordering::Relaxed);
        requests.saturating_sub(self.running())
    }

    /// Tokens of caches that are taken.
    pub fn cached_tokens(&self) -> usize {
        self.cached_tokens.load(Ordering::Relaxed)
    }
}

/// A request's place among those that were taken; free again however the request ends.
struct Place(Arc<Status>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service {
    /// Starts the thread. Beside the requests that are computed so many may wait.
    pub fn start(limits: Limits, waiting: usize) -> Result<Self> {
        let (sender, receiver) = channel();
        let status = Arc::new(Status::default());
        let (seen, scheduler) = (status.clone(), Scheduler::new(limits));
        let thread = std::thread::Builder::new().name("specdec-scheduler".into());
        let thread = thread.spawn(move || run(scheduler, &receiver, &seen));
        thread.map_err(|error| Error::Compute(format!("no thread for the scheduler: {error}")))?;
        Ok(Self {
            sender,
            status,
            limits,
            most_requests: limits.slots.saturating_add(waiting),
        })
    }

    /// Fails for a request that could never have its turn.
    pub fn check(&self, session: &Session) -> Result<()> {
        self.limits.check(session)
    }

    /// Takes a request, of which the listener hears.
    pub fn submit(&self, session: Session, mut listener: Listener) -> Result<(), QueueFull> {
        let requests = &self.status.requests;
        let more = |requests: usize| (requests < self.most_requests).then_some(requests + 1);
        if requests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_err()
        {
            return Err(QueueFull);
        }
        let mut place = Some(Place(self.status.clone()));
        let listener: Listener = Box::new(move |event| {
            if matches!(event, Event::End(_)) {
                drop(place.take());
            }
            listener(event)
        });
        if let Err(unsent) = self.sender.send((session, listener)) {
            let (_, mut listener) = unsent.0;
            listener(Event::End(Err(Error::Compute(
                "the scheduler's thread has ended".into(),
            ))));
        }
        Ok(())
    }

    /// What the thread does.
    pub fn status(&self) -> &Status {
        &self.status
    }
}

fn run(mut scheduler: Scheduler, requests: &Receiver<(Session, Listener)>, status: &Status) {
    loop {
        if scheduler.is_idle() {
            let Ok((session, listener)) = requests.recv() else {
                return;
            };
            scheduler.submit(session, listener);
        }
        while let Ok((session, listener)) = requests.try_recv() {
            scheduler.submit(session, listener);
        }
        // A user's model may panic; the requests to come have done nothing wrong.
        if catch_unwind(AssertUnwindSafe(|| scheduler.step())).is_err() {
            scheduler.abandon("the target panicked: see the log");
        }
        let [_, running] = scheduler.requests();
        status.running.store(running, Ordering::Relaxed);
        status
            .cached_tokens
            .store(scheduler.cached_tokens(), Ordering::Relaxed);
    }
}
