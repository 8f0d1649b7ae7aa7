//! Values whose use waits for a model's lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A value that is used and dropped without the GIL.
///
/// Both can wait for a model that another thread computes with, and that thread may need the GIL to
/// continue: for a model written in Python, or for a log record. Holding the GIL while waiting would deadlock.
pub(super) struct Detached<T: Send>(Mutex<Option<T>>);

impl<T: Send> Detached<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(Some(value)))
    }

    /// Uses the value once no other thread does.
    pub(super) fn with<R: Send>(
        &self,
        py: Python<'_>,
        operation: impl FnOnce(&mut T) -> R + Send,
    ) -> PyResult<R> {
        py.detach(|| self.lock().as_mut().map(operation))
            .ok_or_else(|| PyRuntimeError::new_err("used after it was closed"))
    }

    /// The value, which may have been taken. Call without the GIL.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send> Drop for Detached<T> {
    fn drop(&mut self) {
        let value = self
            .0
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Without an interpreter there is no GIL to release.
        let _ = Python::try_attach(|py| {
            // Objects are also dropped while an exception propagates. A Python model whose `free` is called
            // then must not see that exception.
            let raised = PyErr::take(py);
            py.detach(|| drop(value));
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}
