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

/// A thread's being at work.
struct AtWork;

impl AtWork {
    fn begin() -> Self {
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

/// Computes on a thread of its own, while the event loop goes on.
pub(super) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let at_work = AtWork::begin();
    let run = move || {
        // Wakes the coroutine, for which it takes the GIL; fails if nobody waits any more.
        let _ = sender.send(work());
        drop(at_work);
    };
    let thread = std::thread::Builder::new().name("specdec-async".into());
    thread.spawn(run)?;
    let lost = |_| Error::Compute("the generation's thread ended without an answer".into());
    Ok(receiver.await.map_err(lost)?)
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
