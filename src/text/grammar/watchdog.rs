//! Ends work of the parser that has no end: a grammar such as `start: /c*/ /c/` forces one byte after the other for ever.
//!
//! One thread, which sleeps while nothing runs, cancels what takes longer than [`LIMIT`]. The parser's own limits end other
//! work after some milliseconds, so that only such grammars meet this one.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use llguidance::CancellationHandle;

/// How long a mask, or consuming some tokens, may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Work in progress, by its number.
#[derive(Default)]
struct Tasks {
    next: u64,
    running: HashMap<u64, (Instant, CancellationHandle)>,
}

static TASKS: Mutex<Option<Tasks>> = Mutex::new(None);
static BEGUN: Condvar = Condvar::new();

/// Work that is timed until this is dropped.
pub(super) struct Watch(u64);

impl Watch {
    /// Cancels the work of this handle once it takes too long.
    pub(super) fn start(handle: CancellationHandle) -> Self {
        static THREAD: Once = Once::new();
        THREAD.call_once(|| {
            let thread = std::thread::Builder::new().name("specdec-grammars".into());
            // Without the thread nothing is cancelled.
            drop(thread.spawn(run));
        });
        let mut tasks = tasks();
        let all = tasks.get_or_insert_default();
        let number = all.next;
        all.next += 1;
        all.running.insert(number, (Instant::now(), handle));
        BEGUN.notify_one();
        Self(number)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(all) = tasks().as_mut() {
            all.running.remove(&self.0);
        }
    }
}

fn tasks() -> MutexGuard<'static, Option<Tasks>> {
    TASKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run() {
    let mut tasks = tasks();
    loop {
        let is_idle =
            |all: &mut Option<Tasks>| all.as_ref().is_none_or(|all| all.running.is_empty());
        let begun = BEGUN.wait_while(tasks, is_idle);
        let begun = begun.unwrap_or_else(PoisonError::into_inner);
        for (began, handle) in begun.iter().flat_map(|all| all.running.values()) {
            if began.elapsed() > LIMIT {
                handle.cancel();
            }
        }
        drop(begun);
        std::thread::sleep(LIMIT / 10);
        tasks = self::tasks();
    }
}
