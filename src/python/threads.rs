//! The threads that compute for coroutines.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::engine::CancelToken;
use crate::error::Error;

/// The threads that compute for coroutines.
struct Threads {
    /// Whose they are.
    process: u32,
    /// By a number of its own what each does, if that can be ended before its time.
    at_work: BTreeMap<u64, Option<CancelToken>>,
}

static THREADS: Mutex<Threads> = Mutex::new(Threads {
    process: 0,
    at_work: BTreeMap::new(),
});
static NOT_AT_WORK: Condvar = Condvar::new();

/// A thread's being at work for a coroutine.
pub(super) struct AtWork(u64);

impl AtWork {
    /// From now on; what it does can be ended by `cancel`.
    pub(super) fn begin(cancel: Option<CancelToken>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut threads = threads();
        let process = std::process::id();
        if threads.process != process {
            *threads = Threads {
                process,
                at_work: BTreeMap::new(),
            };
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        threads.at_work.insert(number, cancel);
        Self(number)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        threads().at_work.remove(&self.0);
        NOT_AT_WORK.notify_all();
    }
}

fn threads() -> MutexGuard<'static, Threads> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a thread that is at work leaves what it came to.
pub(super) struct Answer<T>(Option<(tokio::sync::oneshot::Sender<T>, AtWork)>);

impl<T> Answer<T> {
    /// Wakes the coroutine, for which it takes the GIL; nothing happens if nobody waits any more.
    pub(super) fn send(&mut self, answer: T) {
        if let Some((sender, at_work)) = self.0.take() {
            let _ = sender.send(answer);
            drop(at_work);
        }
    }
}

/// Waits, while the event loop goes on, for what another thread is going to answer, unless it is ended by `cancel`.
pub(super) async fn hear<T: Send + 'static, E>(
    cancel: Option<CancelToken>,
    ask: impl FnOnce(Answer<T>) -> Result<(), E>,
) -> PyResult<Result<T, E>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    if let Err(error) = ask(Answer(Some((sender, AtWork::begin(cancel))))) {
        return Ok(Err(error));
    }
    let lost = |_| Error::Compute("the generation's thread ended without an answer".into());
    Ok(Ok(receiver.await.map_err(lost)?))
}

/// Computes on a thread of its own, while the event loop goes on.
pub(super) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let started = hear(None, |mut answer| {
        let thread = std::thread::Builder::new().name("specdec-async".into());
        thread.spawn(move || answer.send(work())).map(drop)
    });
    Ok(started.await??)
}

/// Ends what is computed for coroutines, and waits for the threads. The interpreter calls this at its end: a thread that wants
/// the GIL after it would take the process down.
#[pyfunction]
pub(super) fn _finish(py: Python<'_>) {
    py.detach(|| {
        let threads = threads();
        // A forked process has none of its parent's threads.
        if threads.process == std::process::id() {
            let running = threads.at_work.values().flatten();
            running.for_each(CancelToken::cancel);
            drop(NOT_AT_WORK.wait_while(threads, |threads| !threads.at_work.is_empty()));
        }
    });
}
