//! Ctrl-C: the first ends the running generation within one step, the next one the program.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::CancelToken;

/// The generation that Ctrl-C ends; none while loading or waiting for input.
static RUNNING: Mutex<Option<CancelToken>> = Mutex::new(None);

fn running() -> MutexGuard<'static, Option<CancelToken>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to listen for Ctrl-C.
pub(super) fn listen() {
    let listening = ctrlc::set_handler(|| match running().take() {
        Some(generation) => generation.cancel(),
        None => std::process::exit(130),
    });
    if let Err(error) = listening {
        // Already listening (a second run in one process), or the system's default, which ends the program.
        tracing::debug!(%error, "Ctrl-C is left as it was");
    }
}

/// Until the guard is dropped, Ctrl-C ends this generation instead of the program.
pub(super) fn ends(generation: CancelToken) -> Guard {
    *running() = Some(generation);
    Guard
}

/// See [`ends`].
pub(super) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        *running() = None;
    }
}
