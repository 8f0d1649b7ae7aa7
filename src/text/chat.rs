//! Chat templates: a conversation as one text, in the form that the model was trained on.
//!
//! Templates are Jinja programs that come with the model, written for transformers' `apply_chat_template`
//! (<https://huggingface.co/docs/transformers/chat_templating>); they see the same names here.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind, context};
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::error::{Error, Result};

/// The maximum number of instructions that a template may execute; a long conversation needs a few thousand.
const FUEL: u64 = 10_000_000;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The speaker: "system", "user" or "assistant".
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// A model's chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    /// `bos_token`, `eos_token`, ...: text, by the names that templates use.
    special_tokens: BTreeMap<&'static str, String>,
}

impl ChatTemplate {
    pub(super) fn new(source: String, special_tokens: BTreeMap<&'static str, String>) -> Self {
        Self {
            source,
            special_tokens,
        }
    }

    /// Renders the conversation as text; with `add_generation_prompt`, the text ends where the model's answer starts.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let text = self.try_render(messages, add_generation_prompt);
        text.map_err(|error| {
            let reason = match error.kind() {
                // The template's own words, from raise_exception.
                ErrorKind::InvalidOperation => error.detail().unwrap_or_default().to_owned(),
                _ => error.to_string(),
            };
            let expected = "a conversation that the model's chat template accepts";
            Error::invalid("messages", reason, expected)
        })
    }

    fn try_render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, minijinja::Error> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        let source = without_generation_blocks(&self.source);
        environment.template_from_str(&source)?.render(context! {
            messages => Serde(messages),
            // Transformers sets these to None.
            tools => (),
            documents => (),
            add_generation_prompt,
            ..Value::from(Serde(&self.special_tokens))
        })
    }
}

/// Removes `{% generation %}`, which marks the assistant's text for training.
fn without_generation_blocks(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(begin) = rest.find("{%") {
        let Some(length) = rest[begin..].find("%}") else {
            break;
        };
        let end = begin + length;
        let tag = &rest[begin + 2..end];
        // A block without effect keeps the white space control of the tags.
        let replaced = match tag.trim_matches(['-', '+']).trim() {
            "generation" => tag.replacen("generation", "if true", 1),
            "endgeneration" => tag.replacen("endgeneration", "endif", 1),
            _ => tag.to_owned(),
        };
        result.push_str(&rest[..begin + 2]);
        result.push_str(&replaced);
        rest = &rest[end..];
    }
    result + rest
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// The current time in Python's `strftime` format.
fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    let invalid = |error: jiff::Error| {
        let message = format!("strftime_now({format:?}): {error}");
        minijinja::Error::new(ErrorKind::InvalidOperation, message)
    };
    jiff::fmt::strtime::format(format, &jiff::Zoned::now()).map_err(invalid)
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False, indent=indent)` writes it.
#[allow(
    clippy::needless_pass_by_value,
    reason = "minijinja's filters have this signature"
)]
fn to_json(value: &Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let mut text = Vec::new();
    let written = match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut text, OneLine)),
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let pretty = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut text, pretty))
        }
    };
    let invalid = |error: String| {
        minijinja::Error::new(ErrorKind::BadSerialization, format!("tojson: {error}"))
    };
    written.map_err(|error| invalid(error.to_string()))?;
    let text = String::from_utf8(text).map_err(|error| invalid(error.to_string()))?;
    Ok(Value::from_safe_string(text))
}

/// JSON on one line with a space after each comma and colon, as Python writes it.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message]) -> Result<String> {
        let special_tokens =
            BTreeMap::from([("bos_token", "<s>".into()), ("eos_token", "</s>".into())]);
        ChatTemplate::new(source.into(), special_tokens).render(messages, true)
    }

    fn conversation() -> Vec<Message> {
        vec![
            Message::new("system", " Be brief. "),
            Message::new("user", "Is 1 < 2 & \"3\"?"),
        ]
    }

    #[test]
    fn the_usual_shapes_render() {
        let chatml = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        let expected = "<|im_start|>system\n Be brief. <|im_end|>\n<|im_start|>user\nIs 1 < 2 & \"3\"?<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(render(chatml, &conversation()).unwrap(), expected);
        let methods = "{{ bos_token }}{%- set ns = namespace(n=0) -%}\n{%- for m in messages[1:] if m.role.startswith('u') %}\n    {%- set ns.n = ns.n + 1 %}\n{{ m.content.upper().strip().split(' ')[0] }}{{ ns.n }}{{ eos_token }}\n{% endfor %}";
        assert_eq!(render(methods, &conversation()).unwrap(), "<s>IS1</s>\n");
    }

    #[test]
    fn json_is_formatted_as_in_python() {
        let source = "{{ messages[1] | tojson }} {{ [] | tojson }} {{ {'a': [1, 2.5, none, true]} | tojson(indent=2) }}";
        let expected = "{\"role\": \"user\", \"content\": \"Is 1 < 2 & \\\"3\\\"?\"} [] {\n  \"a\": [\n    1,\n    2.5,\n    null,\n    true\n  ]\n}";
        assert_eq!(render(source, &conversation()).unwrap(), expected);
    }

    #[test]
    fn generation_blocks_have_no_effect() {
        let marked = "{% for m in messages %}\n  {%- generation -%}\n  {{ m.role }}\n  {% endgeneration %}\n{% endfor %}{{ '{% generation' }}";
        let plain = marked
            .replace("{%- generation -%}", "{%- if true -%}")
            .replace("{% endgeneration %}", "{% endif %}");
        let rendered = render(marked, &conversation()).unwrap();
        assert_eq!(rendered, render(&plain, &conversation()).unwrap());
        assert!(rendered.starts_with("system"), "{rendered}");
    }

    #[test]
    fn a_template_that_refuses_says_why() {
        let source = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}";
        let message = render(source, &conversation()).unwrap_err().to_string();
        assert!(message.contains("System role not supported"), "{message}");
    }

    #[test]
    fn hostile_templates_end_with_an_error() {
        for source in [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{{ messages.nothing.at_all }}",
            "{% if %}",
            "{{ 'x' * 10 ** 12 }}",
            "{{ strftime_now('%') }}",
            "{{ messages | tojson(indent=-1) }}",
        ] {
            assert!(render(source, &conversation()).is_err(), "{source}");
        }
    }

    #[test]
    fn templates_can_ask_for_the_date() {
        let year = render("{{ strftime_now('%Y') }}", &[]).unwrap();
        assert!(year.parse::<u32>().unwrap() >= 2024, "{year}");
    }
}
