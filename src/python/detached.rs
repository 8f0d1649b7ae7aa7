//! Values that wait for a model's lock.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

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

    /// Takes the value away; `None` if that was done before.
    pub(super) fn take(&self, py: Python<'_>) -> Option<T> {
        py.detach(|| self.lock().take())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<T>> {
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
        let _ = Python::try_attach(|py| py.detach(|| drop(value)));
    }
}

/// Coroutines are polled with the GIL held; what they wait for is not.
impl<F: Future + Send> Future for Detached<Pin<Box<F>>>
where
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = context.waker();
        Python::attach(|py| {
            py.detach(|| match self.lock().as_mut() {
                Some(future) => future.as_mut().poll(&mut Context::from_waker(waker)),
                None => Poll::Pending,
            })
        })
    }
}
