//! The threads that compute for coroutines.

use std::sync::{Condvar, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::error::Error;

/// The threads that compute for coroutines.
struct Threads {
    /// Whose they are.
    process: u32,
    threads: usize,
}

static AT_WORK: Mutex<Threads> = Mutex::new(Threads {
    process: 0,
    threads: 0,
});
static NOT_AT_WORK: Condvar = Condvar::new();

/// A thread's being at work for a coroutine.
pub(super) struct AtWork;

impl AtWork {
    pub(super) fn begin() -> Self {
        let mut at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if at_work.process != process {
            *at_work = Threads {
                process,
                threads: 0,
            };
        }
        at_work.threads += 1;
        Self
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .threads -= 1;
        NOT_AT_WORK.notify_all();
    }
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

/// Waits, while the event loop goes on, for what another thread is going to answer.
pub(super) async fn hear<T: Send + 'static, E>(
    ask: impl FnOnce(Answer<T>) -> Result<(), E>,
) -> PyResult<Result<T, E>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    if let Err(error) = ask(Answer(Some((sender, AtWork::begin())))) {
        return Ok(Err(error));
    }
    let lost = |_| Error::Compute("the generation's thread ended without an answer".into());
    Ok(Ok(receiver.await.map_err(lost)?))
}

/// Computes on a thread of its own, while the event loop goes on.
pub(super) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let started = hear(|mut answer| {
        let thread = std::thread::Builder::new().name("specdec-async".into());
        thread.spawn(move || answer.send(work())).map(drop)
    });
    Ok(started.await??)
}

/// Waits for the threads of coroutines. The interpreter calls this at its end: a thread that wants
/// the GIL after it would take the process down.
#[pyfunction]
pub(super) fn _finish(py: Python<'_>) {
    py.detach(|| {
        let at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        // A forked process has none of its parent's threads.
        if at_work.process == std::process::id() {
            drop(NOT_AT_WORK.wait_while(at_work, |at_work| at_work.threads > 0));
        }
    });
}
