//! A conversation in the terms that a template knows: what clients send, by the vocabulary of OpenAI's API, is not what every
//! template was written for.
//!
//! - Contents come as texts or as lists of parts; the template may read one kind alone.
//! - Instructions come by the role "developer", which is "system" for other models.
//! - A template without system messages gets their text at the start of the next user's message.
//! - A call's arguments come as JSON in a text; templates read the values.
//!
//! What the template would leave out is an error that names it.

use serde_json::{Value, json};

use super::message::Message;
use super::{ChatTemplate, RenderOptions};
use crate::error::{Error, Result};

/// Stand for a text in a probing conversation.
const PROBE: &str = "PROBEWORD";
const OTHER_PROBE: &str = "OTHERPROBE";

/// What a template makes of conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reads {
    /// Contents that are texts.
    texts: bool,
    /// Contents that are lists of parts.
    parts: bool,
    /// Messages of the role "system".
    system: bool,
    /// What users say. A template without it is left alone.
    users: bool,
}

impl Reads {
    /// Finds out by rendering conversations of one and two words.
    pub(super) fn of(template: &ChatTemplate) -> Self {
        let render = |messages: &[Message]| {
            let options = RenderOptions::default();
            template
                .render_as_is(messages, &options)
                .unwrap_or_default()
        };
        let user = Message::new("user", PROBE);
        let part = json!([{"type": "text", "text": PROBE}]);
        let in_parts = render(&[user.clone().with("content", part)]);
        // A template for texts alone writes the list out.
        let parts = in_parts.contains(PROBE)
            && !in_parts.contains("'text'")
            && !in_parts.contains("\"text\"");
        let system = [Message::new("system", OTHER_PROBE), user.clone()];
        let system = match parts {
            true => render(&system.map(in_one_part)),
            false => render(&system),
        };
        let texts = render(&[user]).contains(PROBE);
        let users = texts || parts;
        Self {
            texts: texts || !users,
            parts,
            system: system.contains(OTHER_PROBE) || !users,
            users,
        }
    }
}

/// The conversation as the template reads it.
pub(super) fn conversation(
    messages: &[Message],
    reads: Reads,
    template: &ChatTemplate,
) -> Result<Vec<Message>> {
    let knows_developer = template.mentions("developer");
    let mut adapted: Vec<Message> = Vec::with_capacity(messages.len());
    let mut instructions: Vec<String> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let mut message = message.clone();
        if message.role() == "developer" && !knows_developer {
            message.fields["role"] = "system".into();
        }
        if message.fields.contains_key("tool_calls") {
            adapt_calls(index, &mut message, template)?;
        }
        if message.role() == "system" && !reads.system {
            instructions.push(message.text());
            continue;
        }
        adapt_content(&mut message, reads);
        if message.role() == "user" && !instructions.is_empty() {
            prepend(&mut message, &instructions.join("\n\n"));
            instructions.clear();
        }
        adapted.push(message);
    }
    if !instructions.is_empty() {
        let mut message = Message::new("user", instructions.join("\n\n"));
        adapt_content(&mut message, reads);
        adapted.push(message);
    }
    Ok(adapted)
}

/// Texts or parts, as the template reads them.
fn adapt_content(message: &mut Message, reads: Reads) {
    match message.fields.get("content") {
        Some(Value::String(_)) if !reads.texts => *message = in_one_part(message.clone()),
        Some(Value::Array(_)) if !reads.parts => {
            let text = message.text();
            message.fields.insert("content".into(), text.into());
        }
        _ => {}
    }
}

/// A message whose text is the only part of its content.
fn in_one_part(message: Message) -> Message {
    let text = message.text();
    message.with("content", json!([{"type": "text", "text": text}]))
}

fn prepend(message: &mut Message, text: &str) {
    let content = match message.fields.get("content") {
        Some(Value::Array(parts)) => {
            let first = json!({"type": "text", "text": format!("{text}\n\n")});
            Value::Array([&[first], &parts[..]].concat())
        }
        _ => format!("{text}\n\n{}", message.text()).into(),
    };
    message.fields.insert("content".into(), content);
}

/// The arguments of calls as values.
fn adapt_calls(index: usize, message: &mut Message, template: &ChatTemplate) -> Result<()> {
    let Some(calls) = message.fields.get_mut("tool_calls") else {
        return Ok(());
    };
    let is_empty = calls.is_null() || calls.as_array().is_some_and(Vec::is_empty);
    if !is_empty && !template.mentions("tool_calls") {
        let expected = "none: the model's chat template has no tool calls";
        let field = format!("messages[{index}].tool_calls");
        return Err(Error::invalid(field, calls, expected));
    }
    for call in calls.as_array_mut().into_iter().flatten() {
        let arguments = call
            .get_mut("function")
            .and_then(|function| function.get_mut("arguments"));
        if let Some(arguments) = arguments
            && let Some(text) = arguments.as_str()
            && let Ok(values @ Value::Object(_)) = serde_json::from_str(text)
        {
            *arguments = values;
        }
    }
    Ok(())
}

/// Refuses messages that the template left out, as it does with roles that it doesn't know: each's longest word must be in
/// the text. (What a model said before is the template's to shorten.)
pub(super) fn check_contained(messages: &[Message], reads: Reads, text: &str) -> Result<()> {
    for (index, message) in messages.iter().enumerate() {
        let (role, content) = (message.role(), message.text());
        let words = content.split(|letter: char| !letter.is_ascii_alphanumeric());
        let longest = words.max_by_key(|word| word.len()).unwrap_or_default();
        if reads.users && role != "assistant" && !text.contains(longest) {
            let expected = "another role: the model's chat template leaves this message out";
            return Err(Error::invalid(
                format!("messages[{index}].role"),
                role,
                expected,
            ));
        }
    }
    Ok(())
}
