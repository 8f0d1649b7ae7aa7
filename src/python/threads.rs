//! The threads that compute for coroutines.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::engine::CancelToken;
use crate::error::{Error, Result};
use crate::fork::{self, WorkingElsewhere};

/// The threads of one process that compute for coroutines.
struct Threads {
    process: u32,
    /// By number, with what cancels their work, if anything does.
    running: Mutex<BTreeMap<u64, Option<CancelToken>>>,
    finished: Condvar,
}

impl Threads {
    /// Those of this process. A forked one begins with none: what its parent's threads had locked stays locked there.
    fn of_this_process(_: Python<'_>) -> Arc<Self> {
        // Locked with the GIL alone, so that no other thread has it when one forks.
        static CURRENT: Mutex<Option<Arc<Threads>>> = Mutex::new(None);
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        match &*current {
            Some(threads) if threads.process == process => threads.clone(),
            _ => {
                let running = Mutex::default();
                let finished = Condvar::new();
                let threads = Arc::new(Self {
                    process,
                    running,
                    finished,
                });
                current.insert(threads).clone()
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, Option<CancelToken>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a thread as computing for a coroutine until it is dropped.
pub(super) struct RunningGuard {
    number: u64,
    threads: Arc<Threads>,
    working: Option<WorkingElsewhere>,
}

impl RunningGuard {
    /// Starts; `cancel` cancels the work.
    pub(super) fn begin(py: Python<'_>, cancel: Option<CancelToken>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let guard = Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            threads: Threads::of_this_process(py),
            working: Some(fork::work_elsewhere()?),
        };
        guard.threads.running().insert(guard.number, cancel);
        Ok(guard)
    }

    /// The work is done, but for telling so: the one who is told may fork.
    pub(super) fn finish(&mut self) {
        drop(self.working.take());
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.threads.running().remove(&self.number);
        self.threads.finished.notify_all();
    }
}

/// Sends the result of a thread to the coroutine that waits for it.
pub(super) struct Answer<T>(Option<(tokio::sync::oneshot::Sender<T>, RunningGuard)>);

impl<T> Answer<T> {
    /// Wakes the coroutine, which takes the GIL. Does nothing if the coroutine is gone.
    pub(super) fn send(&mut self, answer: T) {
        if let Some((sender, mut running)) = self.0.take() {
            running.finish();
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
    let running = Python::attach(|py| RunningGuard::begin(py, cancel))?;
    if let Err(error) = ask(Answer(Some((sender, running)))) {
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
#[expect(
    clippy::disallowed_methods,
    reason = "it waits for threads that work, and does not work"
)]
pub(super) fn _finish(py: Python<'_>) {
    let threads = Threads::of_this_process(py);
    py.detach(|| {
        let running = threads.running();
        running.values().flatten().for_each(CancelToken::cancel);
        drop(
            threads
                .finished
                .wait_while(running, |running| !running.is_empty()),
        );
    });
}
