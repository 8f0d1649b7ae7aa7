//! Work without the GIL, and values whose use is such work.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::checked_mutex::{CheckedGuard, CheckedMutex};
use crate::error::Result;
use crate::fork;

/// Works without the GIL: all work of this package that Python waits for.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(super) fn detach<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    let _working = fork::work()?;
    Ok(py.detach(work)?)
}

/// A value that is used and dropped without the GIL.
///
/// Both can wait for a model that another thread computes with, and that thread may need the GIL to
/// continue: for a model written in Python, or for a log record. Holding the GIL while waiting would deadlock.
pub(super) struct Detached<T: Send>(CheckedMutex<Option<T>>);

impl<T: Send> Detached<T> {
    pub(super) fn new(value: T) -> Self {
        Self(CheckedMutex::new(Some(value)))
    }

    /// Uses the value once no other thread does.
    pub(super) fn with<R: Send>(
        &self,
        py: Python<'_>,
        operation: impl FnOnce(&mut T) -> Result<R> + Send,
    ) -> PyResult<R> {
        detach(py, || self.lock()?.as_mut().map(operation).transpose())?
            .ok_or_else(|| PyRuntimeError::new_err("used after it was closed"))
    }

    /// The value, which may have been taken. Call without the GIL.
    pub(super) fn lock(&self) -> Result<CheckedGuard<'_, Option<T>>> {
        self.0.lock()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing waits for what is dropped"
)]
impl<T: Send> Drop for Detached<T> {
    fn drop(&mut self) {
        let value = self.0.get_mut().take();
        // A thread that only the parent of this process has may have been changing it.
        if fork::check().is_err() {
            std::mem::forget(value);
            return;
        }
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
