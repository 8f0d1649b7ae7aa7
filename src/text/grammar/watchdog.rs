//! Ends work of the parser that has no end: a grammar such as `start: /c*/ /c/` forces one byte after the other for ever.
//!
//! One thread, which sleeps while nothing runs, cancels what takes longer than [`LIMIT`]. The parser's own limits end other
//! work after some milliseconds, so that only such grammars meet this one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use llguidance::CancellationHandle;

/// How long a mask, or consuming some tokens, may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Work in progress, by its number: when it began, and what cancels it.
type Tasks = BTreeMap<u64, (Instant, CancellationHandle)>;

static TASKS: Mutex<Tasks> = Mutex::new(BTreeMap::new());
static BEGUN: Condvar = Condvar::new();

/// Work that is timed until this is dropped.
pub(super) struct Watch(u64);

impl Watch {
    /// Cancels the work of this handle once it takes too long.
    pub(super) fn start(handle: CancellationHandle) -> Self {
        // A forked process does not have its parent's thread.
        static PROCESS: AtomicU32 = AtomicU32::new(0);
        let process = std::process::id();
        if PROCESS.swap(process, Ordering::Relaxed) != process {
            let thread = std::thread::Builder::new().name("specdec-grammars".into());
            // Without the thread nothing is cancelled.
            drop(thread.spawn(run));
        }
        let mut tasks = tasks();
        let number = tasks.last_key_value().map_or(0, |(last, _)| last + 1);
        tasks.insert(number, (Instant::now(), handle));
        BEGUN.notify_one();
        Self(number)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        tasks().remove(&self.0);
    }
}

fn tasks() -> MutexGuard<'static, Tasks> {
    TASKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run() {
    loop {
        let begun = BEGUN.wait_while(tasks(), |tasks| tasks.is_empty());
        let begun = begun.unwrap_or_else(PoisonError::into_inner);
        for (began, handle) in begun.values() {
            if began.elapsed() > LIMIT {
                handle.cancel();
            }
        }
        drop(begun);
        std::thread::sleep(LIMIT / 10);
    }
}
