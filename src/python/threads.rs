//! The threads that compute for coroutines.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::engine::CancelToken;
use crate::error::Error;

/// The threads that compute for coroutines.
struct Threads {
    /// The process that they belong to.
    process: u32,
    /// The running threads by number, with what cancels their work, if anything does.
    running: BTreeMap<u64, Option<CancelToken>>,
}

static THREADS: Mutex<Threads> = Mutex::new(Threads {
    process: 0,
    running: BTreeMap::new(),
});
static FINISHED: Condvar = Condvar::new();

/// Marks a thread as computing for a coroutine until it is dropped.
pub(super) struct RunningGuard(u64);

impl RunningGuard {
    /// Starts; `cancel` cancels the work.
    pub(super) fn begin(cancel: Option<CancelToken>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut threads = threads();
        let process = std::process::id();
        if threads.process != process {
            *threads = Threads {
                process,
                running: BTreeMap::new(),
            };
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        threads.running.insert(number, cancel);
        Self(number)
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        threads().running.remove(&self.0);
        FINISHED.notify_all();
    }
}

fn threads() -> MutexGuard<'static, Threads> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends the result of a thread to the coroutine that waits for it.
pub(super) struct Answer<T>(Option<(tokio::sync::oneshot::Sender<T>, RunningGuard)>);

impl<T> Answer<T> {
    /// Wakes the coroutine, which takes the GIL. Does nothing if the coroutine is gone.
    pub(super) fn send(&mut self, answer: T) {
        if let Some((sender, running)) = self.0.take() {
            let _ = sender.send(answer);
            drop(running);
        }
    }
}

/// Waits for the answer of another thread without blocking the event loop; `cancel` cancels the work.
pub(super) async fn receive<T: Send + 'static, E>(
    cancel: Option<CancelToken>,
    ask: impl FnOnce(Answer<T>) -> Result<(), E>,
) -> PyResult<Result<T, E>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    if let Err(error) = ask(Answer(Some((sender, RunningGuard::begin(cancel))))) {
        return Ok(Err(error));
    }
    let lost = |_| Error::Compute("the generation's thread ended without an answer".into());
    Ok(Ok(receiver.await.map_err(lost)?))
}

/// Computes on a new thread without blocking the event loop.
pub(super) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let started = receive(None, |mut answer| {
        let thread = std::thread::Builder::new().name("specdec-async".into());
        thread.spawn(move || answer.send(work())).map(drop)
    });
    Ok(started.await??)
}

/// Cancels all work for coroutines and waits for its threads. The interpreter calls this at exit: a thread that takes the
/// GIL afterwards would crash the process.
#[pyfunction]
pub(super) fn _finish(py: Python<'_>) {
    py.detach(|| {
        let threads = threads();
        // A forked process does not have its parent's threads.
        if threads.process == std::process::id() {
            let cancel_tokens = threads.running.values().flatten();
            cancel_tokens.for_each(CancelToken::cancel);
            drop(FINISHED.wait_while(threads, |threads| !threads.running.is_empty()));
        }
    });
}
