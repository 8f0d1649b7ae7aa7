//! `Stream` and `AsyncStream`: a generation chunk by chunk.

use std::sync::{Arc, OnceLock};

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::prelude::*;
use tokio::sync::{Mutex, mpsc};

use super::detached::Detached;
use super::generation::{Chunk, Generation};
use crate::decoder;
use crate::engine::{self, CancelToken};
use crate::error::Result;

/// A generation in progress: an iterator of chunks.
#[pyclass(module = "specdec_rs", frozen)]
pub struct Stream {
    running: Detached<decoder::Stream>,
    cancel: CancelToken,
    generation: OnceLock<engine::Generation>,
}

impl Stream {
    pub(super) fn new(stream: decoder::Stream) -> Self {
        Self {
            cancel: stream.cancel_token(),
            running: Detached::new(stream),
            generation: OnceLock::new(),
        }
    }
}

#[pymethods]
impl Stream {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Chunk>> {
        if self.generation.get().is_some() {
            return Ok(None);
        }
        let next = self.running.with(py, Iterator::next)?;
        if next.is_none() {
            let ended = self
                .running
                .take(py)
                .and_then(decoder::Stream::into_generation);
            if let Some(generation) = ended {
                let _ = self.generation.set(generation);
            }
        }
        Ok(next.transpose()?.map(Chunk))
    }

    /// Ends the generation within one step, from any thread.
    fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The whole generation, once the stream has ended; None before.
    #[getter]
    fn generation(&self) -> Option<Generation> {
        self.generation.get().cloned().map(Generation)
    }
}

/// A generation in progress: an asynchronous iterator of chunks.
#[pyclass(module = "specdec_rs", frozen)]
pub struct AsyncStream {
    chunks: Arc<Mutex<mpsc::Receiver<Result<engine::Chunk>>>>,
    cancel: CancelToken,
    generation: Arc<OnceLock<engine::Generation>>,
}

impl AsyncStream {
    /// Runs the stream on a thread of its own, one chunk ahead of its reader.
    pub(super) fn new(mut stream: decoder::Stream) -> PyResult<Self> {
        let (sender, receiver) = mpsc::channel(1);
        let generation = Arc::new(OnceLock::new());
        let (cancel, ended) = (stream.cancel_token(), generation.clone());
        let run = move || {
            while let Some(chunk) = stream.next() {
                if sender.blocking_send(chunk).is_err() {
                    return;
                }
            }
            if let Some(generation) = stream.into_generation() {
                let _ = ended.set(generation);
            }
        };
        let thread = std::thread::Builder::new().name("specdec-stream".into());
        thread.spawn(run).map_err(|error| {
            PyRuntimeError::new_err(format!("no thread for the generation: {error}"))
        })?;
        Ok(Self {
            chunks: Arc::new(Mutex::new(receiver)),
            cancel,
            generation,
        })
    }
}

impl Drop for AsyncStream {
    fn drop(&mut self) {
        self.cancel.cancel();
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
        let next = self.chunks.lock().await.recv().await;
        match next {
            Some(chunk) => Ok(Chunk(chunk?)),
            None => Err(PyStopAsyncIteration::new_err(())),
        }
    }

    /// Ends the generation within one step, from any thread.
    fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The whole generation, once the stream has ended; None before.
    #[getter]
    fn generation(&self) -> Option<Generation> {
        self.generation.get().cloned().map(Generation)
    }
}
