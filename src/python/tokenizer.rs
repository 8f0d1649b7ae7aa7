//! `Tokenizer`.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::convert::{ModelName, TokenIds, field};
use super::detached::detach;
use super::input::{Messages, Tools, Variables, render_options, warn_of_unread};
use crate::error::{Error, Result};
use crate::hub::{LocateOptions, locate};
use crate::model;
use crate::progress::Silent;
use crate::text;

/// Converts text to token ids and back.
///
/// Args:
///     model: A hub name, a folder or a .gguf file whose tokenizer is loaded.
///
/// Raises:
///     ModelNotFound: There is no such model, or it has no tokenizer.
///
/// Example:
///     >>> tokenizer = Tokenizer("smollm2-135m")  # doctest: +SKIP
#[pyclass(module = "specdec_rs", frozen)]
pub struct Tokenizer(pub(super) text::Tokenizer);

impl Tokenizer {
    fn token(&self, id: u32) -> PyResult<String> {
        let unknown = || {
            let expected = format!("a token's, from 0 to {}", self.0.vocab_size() - 1);
            Error::invalid("token id", id, expected).into()
        };
        self.0.token(id).ok_or_else(unknown)
    }

    fn eos(&self) -> Option<u32> {
        let first = self.0.eos_token_ids().first();
        self.0.end_token_id().or(first.copied())
    }
}

#[pymethods]
impl Tokenizer {
    #[new]
    fn new(py: Python<'_>, model: &Bound<'_, PyAny>) -> PyResult<Self> {
        let model: ModelName = field("model", model, "a string or a path")?;
        detach(py, || load(&model.0)).map(Self)
    }

    /// The token ids of a text.
    ///
    /// Args:
    ///     text: The text.
    ///     add_special_tokens: Add the tokens that the model expects around a text.
    ///
    /// Returns:
    ///     The ids.
    ///
    /// Example:
    ///     >>> ids = decoder.tokenizer.encode("the free software")
    #[pyo3(signature = (text, add_special_tokens=true))]
    fn encode(&self, py: Python<'_>, text: &str, add_special_tokens: bool) -> PyResult<Vec<u32>> {
        detach(py, || self.0.encode(text, add_special_tokens))
    }

    /// The text of token ids.
    ///
    /// Args:
    ///     ids: Token ids.
    ///     skip_special_tokens: Leave special tokens out.
    ///
    /// Returns:
    ///     The text; invalid UTF-8 becomes U+FFFD, and ids outside of the vocabulary have no text.
    ///
    /// Raises:
    ///     InvalidConfig: An id is negative or too large.
    ///
    /// Example:
    ///     >>> tokenizer = decoder.tokenizer
    ///     >>> tokenizer.decode(tokenizer.encode("the free software", add_special_tokens=False))
    ///     'the free software'
    #[pyo3(signature = (ids, skip_special_tokens=true))]
    fn decode(&self, py: Python<'_>, ids: TokenIds, skip_special_tokens: bool) -> PyResult<String> {
        detach(py, || self.0.decode(&ids.0, skip_special_tokens))
    }

    /// Tokens as the vocabulary spells them.
    ///
    /// Args:
    ///     ids: A token id, or several.
    ///
    /// Returns:
    ///     The token, or a list of tokens.
    ///
    /// Raises:
    ///     InvalidConfig: An id is not in the vocabulary.
    ///
    /// Example:
    ///     >>> tokenizer = decoder.tokenizer
    ///     >>> tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id) == tokenizer.eos_token
    ///     True
    fn convert_ids_to_tokens<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = ids.py();
        // Arrays of several numbers have the method too, but fail.
        if let Ok(id) = ids.call_method0("__index__") {
            let id = field("token id", &id, "an integer from 0 to 4294967295")?;
            return self.token(id)?.into_bound_py_any(py);
        }
        let ids: TokenIds = ids.extract()?;
        let tokens = ids.0.into_iter().map(|id| self.token(id));
        tokens.collect::<PyResult<Vec<_>>>()?.into_bound_py_any(py)
    }

    /// The ids of tokens as the vocabulary spells them.
    ///
    /// Args:
    ///     tokens: A token, or several.
    ///
    /// Returns:
    ///     The id, or a list of ids; None for a string that is not a token.
    ///
    /// Example:
    ///     >>> tokenizer = decoder.tokenizer
    ///     >>> tokenizer.convert_tokens_to_ids([tokenizer.eos_token]) == [tokenizer.eos_token_id]
    ///     True
    fn convert_tokens_to_ids<'py>(
        &self,
        tokens: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = tokens.py();
        if tokens.is_instance_of::<PyString>() {
            return self
                .0
                .token_id(&tokens.extract::<String>()?)
                .into_bound_py_any(py);
        }
        let tokens: Vec<String> = field("tokens", tokens, "a token or a list of tokens")?;
        let ids = tokens.iter().map(|token| self.0.token_id(token));
        ids.collect::<Vec<_>>().into_bound_py_any(py)
    }

    /// A conversation as the model reads it, by its chat template.
    ///
    /// Args:
    ///     messages: Dicts with a "role" and a "content"; every field reaches the chat template.
    ///     tokenize: Return token ids; otherwise the text.
    ///     add_generation_prompt: End where the answer starts; None is True unless `continue_final_message`.
    ///     continue_final_message: End with the last message's text, which the answer continues.
    ///     tools: Functions that the model may call, as OpenAI's API describes them.
    ///     **kwargs: The chat template's own variables.
    ///
    /// Returns:
    ///     Token ids or a text.
    ///
    /// Raises:
    ///     InvalidConfig: The chat template refuses the conversation.
    ///     UnsupportedModel: The model has no chat template.
    ///
    /// Example:
    ///     >>> messages = [{"role": "user", "content": "Hi!"}]
    ///     >>> text = decoder.tokenizer.apply_chat_template(messages, tokenize=False)
    #[pyo3(signature = (messages, *, tokenize=true, add_generation_prompt=None, continue_final_message=false,
                        tools=None, **kwargs))]
    #[expect(
        clippy::too_many_arguments,
        reason = "the keywords of the Python method"
    )]
    fn apply_chat_template<'py>(
        &self,
        py: Python<'py>,
        messages: Messages,
        tokenize: bool,
        add_generation_prompt: Option<bool>,
        continue_final_message: bool,
        tools: Option<Tools>,
        kwargs: Option<Variables>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (generation, continued) = (add_generation_prompt, continue_final_message);
        let options = render_options(tools, kwargs, generation, continued);
        warn_of_unread(&options, &self.0);
        let text = detach(py, || self.0.apply_chat_template(&messages.0, &options))?;
        match tokenize {
            true => detach(py, || self.0.encode(&text, false))?.into_bound_py_any(py),
            false => text.into_bound_py_any(py),
        }
    }

    /// The chat template in Jinja; None if the model has none.
    #[getter]
    fn chat_template(&self) -> Option<&str> {
        self.0.chat_template().map(text::ChatTemplate::source)
    }

    /// Number of tokens in the vocabulary.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    /// The id of the token that ends a text, or a turn of a conversation; None without one.
    #[getter]
    fn eos_token_id(&self) -> Option<u32> {
        self.eos()
    }

    /// The ids of all tokens that end a generation.
    #[getter]
    fn eos_token_ids(&self) -> Vec<u32> {
        self.0.eos_token_ids().to_vec()
    }

    /// The id of the token that starts a text; None without one.
    #[getter]
    fn bos_token_id(&self) -> Option<u32> {
        self.0.bos_token_id()
    }

    /// The token that ends a text, or a turn of a conversation; None without one.
    #[getter]
    fn eos_token(&self) -> Option<String> {
        self.0.token(self.eos()?)
    }

    /// The token that starts a text; None without one.
    #[getter]
    fn bos_token(&self) -> Option<String> {
        self.0.token(self.0.bos_token_id()?)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let shown = |token: Option<String>| token.into_bound_py_any(py)?.repr();
        Ok(format!(
            "<Tokenizer: {}, {} tokens, bos_token={}, eos_token={}>",
            self.0.algorithm(),
            self.0.vocab_size(),
            shown(self.bos_token())?,
            shown(self.eos_token())?
        ))
    }
}

fn load(name: &str) -> Result<text::Tokenizer> {
    let options = LocateOptions {
        with_head: false,
        revision: None,
        progress: &Silent,
    };
    model::load_tokenizer(&locate(name, &options)?)
}

/// A tokenizer, or the model whose tokenizer it is.
#[derive(FromPyObject)]
pub(super) enum TokenizerArgument<'py> {
    Loaded(Bound<'py, Tokenizer>),
    Name(ModelName),
}

impl TokenizerArgument<'_> {
    pub(super) fn load(self, py: Python<'_>) -> PyResult<text::Tokenizer> {
        match self {
            Self::Loaded(tokenizer) => Ok(tokenizer.get().0.clone()),
            Self::Name(name) => detach(py, || load(&name.0)),
        }
    }
}
