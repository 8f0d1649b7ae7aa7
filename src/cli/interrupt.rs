//! Ctrl-C: the first one cancels the running generation within one step, the next one ends the program.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::CancelToken;

/// The generation that Ctrl-C cancels; `None` while loading or waiting for input.
static RUNNING: Mutex<Option<CancelToken>> = Mutex::new(None);

fn running() -> MutexGuard<'static, Option<CancelToken>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the handler of Ctrl-C.
pub(super) fn install() {
    let installed = ctrlc::set_handler(|| match running().take() {
        Some(generation) => generation.cancel(),
        None => std::process::exit(130),
    });
    if let Err(error) = installed {
        // Already installed (a second run in one process), or the system's default stays, which ends the program.
        tracing::debug!(%error, "the Ctrl-C handler is unchanged");
    }
}

/// Until the guard is dropped, Ctrl-C cancels this generation instead of ending the program.
pub(super) fn cancels(generation: CancelToken) -> Guard {
    *running() = Some(generation);
    Guard
}

/// See [`cancels`].
pub(super) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        *running() = None;
    }
}
