//! Values that wait for a model's lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A value that is used and dropped without the GIL.
///
/// Both may wait for a model that another thread computes with, and that thread may need the GIL to
/// go on: for a model written in Python, or for a log record. Holding it meanwhile would be a deadlock.
pub(super) struct Detached<T: Send>(Mutex<Option<T>>);

impl<T: Send> Detached<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(Some(value)))
    }

    /// Uses the value, once no other thread does.
    pub(super) fn with<R: Send>(
        &self,
        py: Python<'_>,
        operation: impl FnOnce(&mut T) -> R + Send,
    ) -> PyResult<R> {
        py.detach(|| self.lock().as_mut().map(operation))
            .ok_or_else(|| PyRuntimeError::new_err("used after its end"))
    }

    /// The value, which may be taken away. To be called without the GIL.
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
        // Without an interpreter there is no GIL to give up.
        let _ = Python::try_attach(|py| {
            // Objects are also dropped while an exception is on its way, which a model in Python that
            // is told of its sequence's end must not meet.
            let raised = PyErr::take(py);
            py.detach(|| drop(value));
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}
