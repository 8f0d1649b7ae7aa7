//! `Stream` and `AsyncStream`: a generation chunk by chunk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;

use super::detached::Detached;
use super::errors::check_signals;
use super::generation::{Chunk, Generation};
use super::threads;
use crate::decoder;
use crate::engine::{self, CancelToken};
use crate::error::Result;

/// A generation in progress, and what it came to.
struct Running {
    stream: Detached<decoder::Stream>,
    cancel: CancelToken,
    generation: OnceLock<engine::Generation>,
    /// Chunks whose coroutine was cancelled while it waited for them: the next one's.
    kept: Mutex<VecDeque<Result<engine::Chunk>>>,
}

impl Running {
    fn new(stream: decoder::Stream) -> Self {
        Self {
            cancel: stream.cancel_token(),
            stream: Detached::new(stream),
            generation: OnceLock::new(),
            kept: Mutex::default(),
        }
    }

    /// Reads a piece of the prompt; `false` if it was read. To be called without the GIL.
    fn read_prompt(&self) -> Result<bool> {
        let mut stream = self.stream.lock();
        stream
            .as_mut()
            .map_or(Ok(false), decoder::Stream::read_prompt)
    }

    /// The next chunk. To be called without the GIL.
    fn next(&self) -> Option<Result<engine::Chunk>> {
        self.advance(&mut self.stream.lock())
    }

    /// Computes the next chunk and keeps it, in the order of computation. To be called without the GIL.
    fn keep_next(&self) {
        let mut stream = self.stream.lock();
        let next = self.advance(&mut stream);
        self.kept().extend(next);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Result<engine::Chunk>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, stream: &mut Option<decoder::Stream>) -> Option<Result<engine::Chunk>> {
        let next = stream.as_mut()?.next();
        if next.is_none()
            && let Some(generation) = stream.take()?.into_generation()
        {
            self.generation.get_or_init(|| generation);
        }
        next
    }

    fn generation(&self) -> Option<Generation> {
        self.generation.get().cloned().map(Generation)
    }
}

/// A generation in progress: an iterator of chunks.
#[pyclass(module = "specdec_rs", frozen)]
pub struct Stream(Running);

impl Stream {
    pub(super) fn new(stream: decoder::Stream) -> Self {
        Self(Running::new(stream))
    }
}

#[pymethods]
impl Stream {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Chunk>> {
        while py.detach(|| self.0.read_prompt())? {
            check_signals(py)?;
        }
        let next = py.detach(|| self.0.next());
        check_signals(py)?;
        Ok(next.transpose()?.map(Chunk))
    }

    /// Ends the generation within one step, from any thread.
    fn cancel(&self) {
        self.0.cancel.cancel();
    }

    /// The whole generation, once the stream has ended; None before.
    #[getter]
    fn generation(&self) -> Option<Generation> {
        self.0.generation()
    }
}

/// A generation in progress: an asynchronous iterator of chunks.
#[pyclass(module = "specdec_rs", frozen)]
pub struct AsyncStream(Arc<Running>);

impl AsyncStream {
    pub(super) fn new(stream: decoder::Stream) -> Self {
        Self(Arc::new(Running::new(stream)))
    }
}

#[pymethods]
impl AsyncStream {
    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.call_method0("_next")
    }

    /// The coroutine of `__anext__`, which can't be one itself: PyO3 makes them of named methods only.
    async fn _next(&self) -> PyResult<Chunk> {
        if self.0.kept().is_empty() {
            let running = self.0.clone();
            threads::compute(move || running.keep_next()).await?;
        }
        let next = self.0.kept().pop_front();
        match next {
            Some(chunk) => Ok(Chunk(chunk?)),
            None => Err(PyStopAsyncIteration::new_err(())),
        }
    }

    /// Ends the generation within one step, from any thread.
    fn cancel(&self) {
        self.0.cancel.cancel();
    }

    /// The whole generation, once the stream has ended; None before.
    #[getter]
    fn generation(&self) -> Option<Generation> {
        self.0.generation()
    }
}
