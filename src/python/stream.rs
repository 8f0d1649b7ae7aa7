//! `Stream` and `AsyncStream`: a generation, chunk by chunk.

use std::sync::OnceLock;

use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::detached::{Detached, detach};
use super::errors::check_signals;
use super::generation::{Chunk, Generation};
use super::threads::RunningGuard;
use crate::decoder::{self, CancelOnDrop, SpeculativeDecoder};
use crate::engine::{self, CancelToken, Event, Request};
use crate::error::{Error, Result};

/// A generation in progress: an iterator of chunks.
///
/// Example:
///     >>> stream = decoder.stream("You may", max_new_tokens=8)
///     >>> text = "".join(chunk.text for chunk in stream)
///     >>> stream.generation.text == text
///     True
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

    /// One forward pass at most. To be called without the GIL.
    fn advance(&self) -> Result<Progress> {
        let stream = &mut *self.running.lock()?;
        let Some(running) = stream else {
            return Ok(Progress::Ended);
        };
        if let Some(chunk) = running.next_ready() {
            return Ok(Progress::Chunk(chunk));
        }
        if !running.is_ended() {
            running.step();
            return Ok(Progress::Pass);
        }
        if let Some(ended) = stream.take() {
            let generation = ended.into_generation()?;
            self.generation.get_or_init(|| generation);
        }
        Ok(Progress::Ended)
    }
}

/// What the stream has come to.
enum Progress {
    /// A forward pass, whose chunk may be ready.
    Pass,
    Chunk(engine::Chunk),
    Ended,
}

#[pymethods]
impl Stream {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Chunk>> {
        loop {
            let progress = detach(py, || Ok(self.advance()))?;
            check_signals(py)?;
            match progress? {
                Progress::Pass => {}
                Progress::Chunk(chunk) => return Ok(Some(Chunk(chunk))),
                Progress::Ended => return Ok(None),
            }
        }
    }

    /// Cancels the generation within one step, from any thread.
    fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The complete generation once the stream has ended; None before.
    #[getter]
    fn generation(&self) -> Option<Generation> {
        self.generation.get().cloned().map(Generation)
    }

    fn __repr__(&self) -> String {
        repr("Stream", self.generation.get())
    }
}

/// A generation in progress, batched with others: an asynchronous iterator of chunks.
///
/// It starts when the first chunk is awaited, and continues without waiting for the next await.
///
/// Example:
///     >>> async def text():
///     ...     return "".join([chunk.text async for chunk in decoder.stream_async("You may")])
///     >>> asyncio.run(text())  # doctest: +SKIP
#[pyclass(module = "specdec_rs", frozen)]
pub struct AsyncStream {
    decoder: SpeculativeDecoder,
    pending: Detached<Request>,
    events: tokio::sync::Mutex<Option<UnboundedReceiver<Event>>>,
    cancel: CancelOnDrop,
    generation: OnceLock<engine::Generation>,
}

impl AsyncStream {
    pub(super) fn new(decoder: &SpeculativeDecoder, request: Request) -> Self {
        Self {
            decoder: decoder.clone(),
            cancel: CancelOnDrop(request.cancel_token()),
            pending: Detached::new(request),
            events: tokio::sync::Mutex::default(),
            generation: OnceLock::new(),
        }
    }

    /// Starts the generation; `None` if it was started before.
    fn begin(&self, py: Python<'_>) -> Result<Option<UnboundedReceiver<Event>>> {
        let Some(request) = self.pending.lock()?.take() else {
            return Ok(None);
        };
        let (sender, events) = unbounded_channel();
        let mut running = Some(RunningGuard::begin(py, Some(request.cancel_token()))?);
        self.decoder.submit(request, move |event| {
            let ended = matches!(event, Event::End(_));
            if let Some(running) = running.as_mut().filter(|_| ended) {
                running.finish();
            }
            let connected = sender.send(event).is_ok();
            if ended {
                drop(running.take());
            }
            connected
        })?;
        Ok(Some(events))
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

    /// The coroutine of `__anext__`: PyO3 makes coroutines only of methods with ordinary names.
    async fn _next(&self) -> PyResult<Chunk> {
        let ended = || PyStopAsyncIteration::new_err(());
        self.decoder.check_may_wait()?;
        let mut events = self.events.lock().await;
        if events.is_none() {
            *events = Python::attach(|py| self.begin(py))?;
        }
        // An event that arrives while a coroutine is cancelled goes to the next one.
        let event = events.as_mut().ok_or_else(ended)?.recv().await;
        match event {
            Some(Event::Chunk(chunk)) => Ok(Chunk(chunk)),
            Some(Event::End(end)) => {
                *events = None;
                let generation = end?;
                self.generation.get_or_init(|| *generation);
                Err(ended())
            }
            None => {
                let lost = "the scheduler's thread ended without an answer";
                Err(Error::Compute(lost.into()).into())
            }
        }
    }

    /// Ends the generation within one step, from any thread; chunks generated until then can still be read.
    fn cancel(&self) {
        self.cancel.0.cancel();
    }

    /// The complete generation once the stream has ended; None before.
    #[getter]
    fn generation(&self) -> Option<Generation> {
        self.generation.get().cloned().map(Generation)
    }

    fn __repr__(&self) -> String {
        repr("AsyncStream", self.generation.get())
    }
}

/// A stream's class and how far it has come.
fn repr(class: &str, generation: Option<&engine::Generation>) -> String {
    match generation {
        None => format!("<{class}: running>"),
        Some(generation) => {
            let (tokens, reason) = (generation.tokens.len(), generation.finish_reason);
            format!("<{class}: ended, {tokens} tokens, finish_reason='{reason}'>")
        }
    }
}
