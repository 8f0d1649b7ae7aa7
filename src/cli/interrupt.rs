//! Ctrl-C: the first ends the running generation within one step, the next one the program.
//!
//! The library never ends the process: [`run`] returns, and the program decides what follows.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::CancelToken;

/// The stack of the thread that works: that of a main thread.
const STACK_BYTES: usize = 8 << 20;

/// What Ctrl-C ends.
static TARGETS: Mutex<Targets> = Mutex::new(Targets {
    generation: None,
    program: None,
});

struct Targets {
    /// None while loading or waiting for input.
    generation: Option<CancelToken>,
    /// Notified when there is no generation.
    program: Option<Sender<Event>>,
}

/// How the work of a program ends.
enum Event {
    /// With an exit status, or by a panic.
    Finished(std::thread::Result<u8>),
    Interrupted,
}

fn targets() -> MutexGuard<'static, Targets> {
    TARGETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` on another thread and returns its exit status; `None`: Ctrl-C ended it, and the thread may still run.
pub(super) fn run(work: impl FnOnce() -> u8 + Send + 'static) -> Option<u8> {
    let (sender, events) = mpsc::channel();
    targets().program = Some(sender.clone());
    let listening = ctrlc::set_handler(|| {
        let mut targets = targets();
        match (targets.generation.take(), &targets.program) {
            (Some(generation), _) => generation.cancel(),
            (None, Some(program)) => drop(program.send(Event::Interrupted)),
            (None, None) => {}
        }
    });
    if let Err(error) = listening {
        // The handler of an earlier run in this process, or the system's default, which ends the process.
        tracing::debug!(%error, "the handler of Ctrl-C is unchanged");
    }
    let finished = move || {
        let outcome = catch_unwind(AssertUnwindSafe(work));
        // The receiver is gone after an interrupt.
        drop(sender.send(Event::Finished(outcome)));
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    if let Err(error) = thread.spawn(finished) {
        super::error::print_error(&format!("no thread can be started: {error}"));
        return Some(1);
    }
    let event = events.recv();
    targets().program = None;
    match event {
        Ok(Event::Finished(Ok(status))) => Some(status),
        Ok(Event::Finished(Err(panic))) => resume_unwind(panic),
        Ok(Event::Interrupted) | Err(_) => None,
    }
}

/// Until the guard is dropped, Ctrl-C ends this generation instead of the program.
pub(super) fn cancels(generation: CancelToken) -> Guard {
    targets().generation = Some(generation);
    Guard
}

/// See [`cancels`].
pub(super) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        targets().generation = None;
    }
}
