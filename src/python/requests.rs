//! Runs what a decoder is asked: whole, chunk by chunk, in a batch; blocking, or for an event loop.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::config::SpeculativeConfig;
use super::detached::detach;
use super::errors::{self, Interruption};
use super::generation::Generation;
use super::input::Input;
use super::stream::{AsyncStream, Stream};
use super::threads;
use crate::decoder::{self, CancelOnDrop, SpeculativeDecoder};
use crate::engine::{self, Event};
use crate::error::Result;

/// A call's `config` and its keywords.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a, 'py> {
    pub(super) config: Option<&'a Bound<'py, SpeculativeConfig>>,
    pub(super) overrides: Option<&'a Bound<'py, PyDict>>,
}

impl Settings<'_, '_> {
    fn of(self, decoder: &SpeculativeDecoder) -> PyResult<crate::settings::SpeculativeConfig> {
        SpeculativeConfig::of_call(decoder, self.config, self.overrides)
    }
}

/// Generates the whole text.
pub(super) fn generate(
    py: Python<'_>,
    decoder: &SpeculativeDecoder,
    input: Input,
    settings: Settings<'_, '_>,
) -> PyResult<Generation> {
    let config = settings.of(decoder)?;
    let answer = || run(decoder.stream(input.prompt(decoder)?, &config)?);
    detach(py, answer).map(Generation)
}

/// Generates several texts in one batch.
pub(super) fn generate_batch(
    py: Python<'_>,
    decoder: &SpeculativeDecoder,
    inputs: Vec<Input>,
    settings: Settings<'_, '_>,
) -> PyResult<Vec<Generation>> {
    let config = settings.of(decoder)?;
    let answer = || {
        let prompts = inputs.into_iter().map(|input| input.prompt(decoder));
        let mut batch = decoder.batch(prompts.collect::<Result<Vec<_>>>()?, &config)?;
        while batch.step()? {
            check_signals()?;
        }
        batch.into_generations()
    };
    let generations = detach(py, answer)?;
    Ok(generations.into_iter().map(Generation).collect())
}

/// Generates chunk by chunk.
pub(super) fn stream(
    py: Python<'_>,
    decoder: &SpeculativeDecoder,
    input: Input,
    settings: Settings<'_, '_>,
) -> PyResult<Stream> {
    let config = settings.of(decoder)?;
    let start = || decoder.stream(input.prompt(decoder)?, &config);
    detach(py, start).map(Stream::new)
}

/// Generates the whole text without blocking the event loop.
pub(super) async fn generate_async(
    decoder: SpeculativeDecoder,
    input: Input,
    config: Option<Py<SpeculativeConfig>>,
    overrides: Option<Py<PyDict>>,
) -> PyResult<Generation> {
    let config = Python::attach(|py| {
        let settings = Settings {
            config: config.as_ref().map(|config| config.bind(py)),
            overrides: overrides.as_ref().map(|overrides| overrides.bind(py)),
        };
        settings.of(&decoder)
    })?;
    let own = decoder.clone();
    // Not on the loop's thread either: to compile a response format takes time.
    let request = threads::compute(move || own.request(input.prompt(&own)?, &config)).await??;
    let _guard = CancelOnDrop(request.cancel_token());
    let cancel = Some(request.cancel_token());
    let end = threads::receive(cancel, move |mut sender| {
        decoder.submit(request, move |event| {
            if let Event::End(end) = event {
                sender.send(end);
            }
            true
        })
    });
    Ok(Generation(*end.await???))
}

/// Generates chunk by chunk without blocking the event loop.
pub(super) fn stream_async(
    py: Python<'_>,
    decoder: &SpeculativeDecoder,
    input: Input,
    settings: Settings<'_, '_>,
) -> PyResult<AsyncStream> {
    let config = settings.of(decoder)?;
    let request = detach(py, || decoder.request(input.prompt(decoder)?, &config))?;
    Ok(AsyncStream::new(decoder, request))
}

/// Runs a generation pass by pass, so that Ctrl-C ends it between two of them. Called without the GIL.
pub(super) fn run(stream: decoder::Stream) -> Result<engine::Generation> {
    stream.run_with(check_signals)
}

/// [`errors::check_signals`] for callers without the GIL.
pub(super) fn check_signals() -> Result<()> {
    Python::attach(|py| errors::check_signals(py).map_err(Interruption::from))
}
