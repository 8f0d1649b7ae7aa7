//! Chat templates: a conversation as one text, in the form that the model was trained on.
//!
//! Templates are Jinja programs that come with the model, written for transformers' `apply_chat_template`
//! (<https://huggingface.co/docs/transformers/chat_templating>); they see the same names and values here. A conversation is
//! first brought to what the template reads ([`adapt`]): its roles, and contents as texts or parts.

mod adapt;
pub(crate) mod builtin;
mod globals;
mod guard;
mod jinja;
mod json;
mod message;
mod program;
mod source;
mod strings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use minijinja::value::{Serde, merge_maps};
use minijinja::{ErrorKind, context};
use serde_json::{Map, Value};

use crate::error::{Error, Result, excerpt};
use crate::panics::Caught;
use crate::threads;
use adapt::Reads;

pub use message::Message;

/// A chat template as it is stored.
#[derive(Debug, Clone)]
pub(super) struct TemplateSource {
    pub(super) source: String,
    /// Another one for conversations with tools.
    pub(super) with_tools: Option<String>,
}

impl TemplateSource {
    /// One for all conversations.
    pub(super) fn new(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            with_tools: None,
        }
    }
}

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    /// As it is stored.
    source: String,
    /// In the forms that `MiniJinja` parses; made when it is first rendered.
    normalized: OnceLock<String>,
    with_tools: Option<Box<Self>>,
    /// `bos_token`, `eos_token`, ...: text, by the names that templates use.
    special_tokens: BTreeMap<&'static str, String>,
    /// What it makes of conversations; found out by the first of them.
    reads: OnceLock<Reads>,
}

/// How a conversation is rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// End the text where the model's answer starts.
    pub add_generation_prompt: bool,
    /// End the text with the last message, which the answer continues.
    pub continue_final_message: bool,
    /// Functions that the model may call, as OpenAI's API describes them.
    pub tools: Vec<Value>,
    /// The template's own variables, such as `enable_thinking`.
    pub variables: Map<String, Value>,
}

impl Default for RenderOptions {
    /// For an answer to the last message.
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            continue_final_message: false,
            tools: Vec::new(),
            variables: Map::new(),
        }
    }
}

/// Variables that are not a request's to set.
const RESERVED: [&str; 2] = ["messages", "tools"];

impl ChatTemplate {
    /// A template, and the special tokens that it may name.
    pub(super) fn new(
        stored: &TemplateSource,
        special_tokens: &BTreeMap<&'static str, String>,
    ) -> Self {
        let with_tools = stored.with_tools.as_ref().map(|source| {
            let stored = TemplateSource::new(source);
            Box::new(Self::new(&stored, special_tokens))
        });
        Self {
            normalized: OnceLock::new(),
            source: stored.source.clone(),
            with_tools,
            special_tokens: special_tokens.clone(),
            reads: OnceLock::new(),
        }
    }

    /// The template in Jinja.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether Jinja can parse the template; the error says where not.
    pub(super) fn check_syntax(&self) -> Result<(), String> {
        let checked = on_large_stack(|| {
            let checked = jinja::check(self.normalized());
            checked.map_err(|error| excerpt(&error.to_string()))
        });
        match checked {
            Ok(outcome) => outcome,
            Err(error) => Err(error.to_string()),
        }
    }

    fn normalized(&self) -> &str {
        self.normalized.get_or_init(|| match self.source.len() {
            0..=jinja::MAX_SOURCE => source::normalize(&self.source),
            // Refused when it is compiled.
            _ => self.source.clone(),
        })
    }

    /// Renders the conversation as text.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        if let Some(template) = self
            .with_tools
            .as_ref()
            .filter(|_| !options.tools.is_empty())
        {
            return template.render(messages, options);
        }
        self.check(options)?;
        on_large_stack(|| self.render_here(messages, options))?
    }

    /// Renders on this thread.
    fn render_here(&self, messages: &[Message], options: &RenderOptions) -> Result<String> {
        let reads = *self.reads.get_or_init(|| Reads::of(self));
        let adapted = adapt::conversation(messages, reads, self)?;
        let text = self
            .render_as_is(&adapted, options)
            .map_err(|error| refused(&error, messages))?;
        adapt::check_contained(messages, reads, &text)?;
        match (options.continue_final_message, adapted.last()) {
            (true, Some(last)) => continued(text, last),
            _ => Ok(text),
        }
    }

    /// The conversation as the template alone renders it.
    fn render_as_is(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<String, minijinja::Error> {
        let tools = match &options.tools[..] {
            // As in transformers.
            [] => minijinja::Value::from(()),
            tools => minijinja::Value::from(Serde(tools)),
        };
        // The first that has a name decides.
        let names = merge_maps([
            context! { messages => Serde(messages), tools },
            minijinja::Value::from(Serde(&options.variables)),
            context! { documents => (), add_generation_prompt => options.add_generation_prompt },
            minijinja::Value::from(Serde(&self.special_tokens)),
        ]);
        jinja::render(self.normalized(), names)
    }

    /// Whether the template names a variable or a field.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.source.contains(name)
    }

    /// Those of its own variables that it does not read, which thus change nothing.
    #[cfg(feature = "server")]
    pub(crate) fn unread<'a>(
        &self,
        variables: &'a Map<String, Value>,
    ) -> impl Iterator<Item = &'a String> {
        variables.keys().filter(|name| !self.mentions(name))
    }

    fn check(&self, options: &RenderOptions) -> Result<()> {
        if let Some(name) = RESERVED
            .iter()
            .find(|name| options.variables.contains_key(**name))
        {
            let expected =
                format!("variables of the template's own: {name} is a field of the request");
            return Err(Error::invalid("chat_template_kwargs", name, expected));
        }
        if options.continue_final_message && options.add_generation_prompt {
            let expected =
                "false with add_generation_prompt: an answer starts, or continues the last message";
            return Err(Error::invalid("continue_final_message", true, expected));
        }
        if !options.tools.is_empty() && !self.mentions("tools") {
            let expected = "none: the model's chat template has no tools";
            let tools = format!("({} tools)", options.tools.len());
            return Err(Error::invalid("tools", tools, expected));
        }
        Ok(())
    }
}

/// Calls a function on a thread whose stack is large enough for any template.
fn on_large_stack<T: Send>(call: impl FnOnce() -> T + Send) -> Result<T> {
    match threads::with_stack(jinja::STACK, call) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(Caught(panic))) => {
            tracing::debug!("a chat template: {panic}");
            Err(unsupported("it makes the library that renders it panic"))
        }
        Err(error) => Err(Error::OutOfMemory {
            reason: format!(
                "no thread with {} MiB of stack, as chat templates need: {error}",
                jinja::STACK >> 20
            ),
        }),
    }
}

/// The error of a template that is at fault itself, whatever the conversation.
fn unsupported(reason: impl std::fmt::Display) -> Error {
    let reason = excerpt(&reason.to_string());
    let reason = format!("{reason}; give another template by `chat_template`");
    Error::unsupported("the model's chat template", reason)
}

/// A template's own refusal, or a mistake in it; a message without content is the most likely cause of one.
fn refused(error: &minijinja::Error, messages: &[Message]) -> Error {
    match error.kind() {
        ErrorKind::OutOfFuel => {
            return unsupported("it takes more work or memory than any conversation needs");
        }
        ErrorKind::SyntaxError
        | ErrorKind::UnknownFilter
        | ErrorKind::UnknownTest
        | ErrorKind::UnknownFunction => return unsupported(error),
        _ => {}
    }
    let own_words = error.kind() == ErrorKind::InvalidOperation && error.detail().is_some();
    let empty = messages.iter().position(Message::is_without_content);
    if let Some(index) =
        empty.filter(|_| !own_words || error.to_string().contains("unsupported types"))
    {
        let field = format!("messages[{index}].content");
        let expected = "a string: the model's chat template shows no message without it";
        return Error::invalid(field, "null", expected);
    }
    let reason = match error.kind() {
        // The template's own words, from raise_exception.
        ErrorKind::InvalidOperation => error.detail().unwrap_or_default().to_owned(),
        _ => error.to_string(),
    };
    let expected = "a conversation that the model's chat template accepts";
    Error::invalid("messages", reason, expected)
}

/// The text up to the end of the last message's own text, as transformers cuts it.
fn continued(mut text: String, last: &Message) -> Result<String> {
    let content = last.text();
    let trimmed = content.trim();
    let position = match trimmed.is_empty() {
        true => None,
        false => text.rfind(trimmed),
    };
    let Some(position) = position else {
        let expected = "false: the chat template does not show the last message's text as it is";
        return Err(Error::invalid("continue_final_message", true, expected));
    };
    let whole = content.trim_start();
    let length = match text[position..].starts_with(whole) {
        true => whole.len(),
        false => trimmed.len(),
    };
    text.truncate(position + length);
    Ok(text)
}
