//! The threads that compute: how many, those of coroutines, and what a fork does to them.

use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use pyo3::prelude::*;

use crate::cli::threads::{MOST, POOLS};
use crate::error::{Error, Result};

/// The process whose thread pool is running.
static STARTED_IN: OnceLock<u32> = OnceLock::new();

/// Number of threads that compute.
pub(super) fn count() -> usize {
    candle_core::utils::get_num_threads()
}

/// Sets the number of threads, which is possible until something was computed.
pub(super) fn set_count(py: Python<'_>, threads: usize) -> PyResult<()> {
    if threads > MOST {
        let expected = format!("an integer from 1 to {MOST}");
        return Err(Error::invalid("num_threads", threads, expected).into());
    }
    if STARTED_IN.get().is_some() {
        if threads != count() {
            tracing::warn!(
                "num_threads={threads} comes too late: this process computes with {} threads since its first model",
                count()
            );
        }
        return Ok(());
    }
    // Through Python, so that `os.environ` agrees.
    let environment = py.import("os")?.getattr("environ")?;
    for variable in POOLS {
        environment.set_item(variable, threads.to_string())?;
    }
    Ok(())
}

/// To be called before anything is computed. A forked process has none of its parent's threads, and
/// would wait for them forever.
pub(super) fn start() -> Result<()> {
    let process = std::process::id();
    if *STARTED_IN.get_or_init(|| process) == process {
        return Ok(());
    }
    Err(Error::Compute(
        "this process was forked after its parent had computed: fork before the first generation, \
         or use multiprocessing's \"spawn\""
            .into(),
    ))
}

/// Number of threads that compute for coroutines.
static AT_WORK: Mutex<usize> = Mutex::new(0);
static NOT_AT_WORK: Condvar = Condvar::new();

/// A thread's being at work.
struct AtWork;

impl AtWork {
    fn begin() -> Self {
        *AT_WORK.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        *AT_WORK.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
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
    // A forked process has no such threads.
    if start().is_ok() {
        py.detach(|| {
            let count = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
            drop(NOT_AT_WORK.wait_while(count, |count| *count > 0));
        });
    }
}
