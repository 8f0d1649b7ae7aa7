//! What a decoder answers, as Python gives it: prompts, and conversations with how they are rendered.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySequence, PyString, PyTuple};
use serde_json::{Map, Value};

use super::convert::{TokenIds, to_json};
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::error::Result;
use crate::text::{Message, RenderOptions, Tokenizer};

/// A prompt, or a conversation that becomes one.
pub(super) enum Input {
    Prompt(Prompt),
    Conversation(Messages, RenderOptions),
}

impl Input {
    /// The prompt. Call without the GIL: templates and tokenizers take time.
    pub(super) fn prompt(self, decoder: &SpeculativeDecoder) -> Result<Prompt> {
        match self {
            Self::Prompt(prompt) => Ok(prompt),
            Self::Conversation(messages, options) => decoder.chat_prompt(&messages.0, &options),
        }
    }
}

impl FromPyObject<'_, '_> for Prompt {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if object.is_instance_of::<PyString>() {
            return Ok(Self::Text(object.extract()?));
        }
        if is_list(&object)
            && let Ok(first) = object.get_item(0)
        {
            if first.is_instance_of::<PyDict>() {
                return Err(PyTypeError::new_err(
                    "expected a string or token ids, not messages: chat answers a conversation (stream_chat, chat_async, \
                     stream_chat_async and chat_batch likewise)",
                ));
            }
            if first.is_instance_of::<PyString>() || is_list(&first) {
                return Err(PyTypeError::new_err(
                    "expected a string or token ids, not several: generate_batch continues several prompts, and learn takes one text at a time",
                ));
            }
        }
        let ids = TokenIds::of(&object, "a string or a sequence of token ids")?;
        Ok(Self::Tokens(ids.0))
    }
}

/// Several prompts.
pub(super) struct Prompts(pub(super) Vec<Prompt>);

impl FromPyObject<'_, '_> for Prompts {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let expected = "a list of prompts, each a string or token ids";
        let prompts = entries(&object, expected, "generate continues one prompt")?;
        let prompts = prompts.into_iter().map(|prompt| {
            if prompt.is_instance_of::<PyDict>() {
                return Err(PyTypeError::new_err(format!(
                    "expected {expected}, not messages: chat answers a conversation, chat_batch several"
                )));
            }
            prompt.extract()
        });
        prompts.collect::<PyResult<_>>().map(Self)
    }
}

/// The messages of one conversation: dicts, whose fields all reach the chat template.
pub(super) struct Messages(pub(super) Vec<Message>);

impl FromPyObject<'_, '_> for Messages {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let expected = r#"a list of messages, as [{"role": "user", "content": "Hello!"}]"#;
        let messages = entries(&object, expected, "generate continues a text")?;
        let message =
            |message: &Bound<'_, PyAny>| Ok(Message::from_json(to_json("messages", message)?)?);
        messages
            .iter()
            .map(message)
            .collect::<PyResult<_>>()
            .map(Self)
    }
}

/// Several conversations.
pub(super) struct Conversations(pub(super) Vec<Messages>);

impl FromPyObject<'_, '_> for Conversations {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let expected = "a list of conversations, each a list of messages";
        let conversations = entries(&object, expected, "generate continues a text")?;
        let conversations = conversations.into_iter().map(|conversation| {
            if conversation.is_instance_of::<PyDict>() {
                return Err(PyTypeError::new_err(format!(
                    "expected {expected}, not messages: chat answers one conversation"
                )));
            }
            conversation.extract()
        });
        conversations.collect::<PyResult<_>>().map(Self)
    }
}

/// The functions that the model may call.
#[derive(Default)]
pub(super) struct Tools(Vec<Value>);

impl FromPyObject<'_, '_> for Tools {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let expected = "a list of dicts, as OpenAI's API describes functions";
        let tools = entries(&object, expected, "a tool is a dict")?;
        let tool = |tool: &Bound<'_, PyAny>| {
            if !tool.is_instance_of::<PyDict>() {
                let class = tool.get_type().name()?;
                return Err(PyTypeError::new_err(format!(
                    "expected {expected}, not {class}"
                )));
            }
            to_json("tools", tool)
        };
        tools.iter().map(tool).collect::<PyResult<_>>().map(Self)
    }
}

/// The chat template's own variables.
#[derive(Default)]
pub(super) struct Variables(Map<String, Value>);

impl FromPyObject<'_, '_> for Variables {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if object.is_instance_of::<PyDict>()
            && let Value::Object(variables) = to_json("chat_template_kwargs", &object)?
        {
            return Ok(Self(variables));
        }
        let class = object.get_type().name()?;
        let message = format!("expected a dict of the chat template's variables, not {class}");
        Err(PyTypeError::new_err(message))
    }
}

/// How a conversation is rendered. The answer starts after the conversation unless it continues the last message.
pub(super) fn render_options(
    tools: Option<Tools>,
    variables: Option<Variables>,
    add_generation_prompt: Option<bool>,
    continue_final_message: bool,
) -> RenderOptions {
    RenderOptions {
        add_generation_prompt: add_generation_prompt.unwrap_or(!continue_final_message),
        continue_final_message,
        tools: tools.unwrap_or_default().0,
        variables: variables.unwrap_or_default().0,
    }
}

/// Logs the variables that the chat template does not read, which thus change nothing.
pub(super) fn warn_of_unread(options: &RenderOptions, tokenizer: &Tokenizer) {
    let Some(template) = tokenizer.chat_template() else {
        return;
    };
    for name in template.unread(&options.variables) {
        tracing::warn!("the model's chat template does not read the variable {name}");
    }
}

/// A list or a tuple, which is known without Python's help: a check that runs Python code could lose a Ctrl-C.
fn is_list(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>()
}

/// The entries of a list, or of another sequence; for anything else an error that says what is expected, and for a text what
/// takes one.
fn entries<'py>(
    object: &Bound<'py, PyAny>,
    expected: &str,
    takes_text: &str,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if object.is_instance_of::<PyString>() {
        let message = format!("expected {expected}, not a string: {takes_text}");
        return Err(PyTypeError::new_err(message));
    }
    match object.cast::<PySequence>() {
        Ok(sequence) if !object.is_instance_of::<PyBytes>() => sequence.try_iter()?.collect(),
        _ => {
            let class = object.get_type().name()?;
            Err(PyTypeError::new_err(format!(
                "expected {expected}, not {class}"
            )))
        }
    }
}
