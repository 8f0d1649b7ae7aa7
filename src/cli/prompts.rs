//! Prompts from options, stdin and files (one per line, as text or as JSON).

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// A user's messages, turn by turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conversation {
    /// The category, if the file names one.
    pub(super) category: Option<String>,
    /// At least one.
    pub(super) turns: Vec<String>,
}

/// A line of JSON: a prompt, or the turns of a conversation (Spec-Bench's format).
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    category: Option<String>,
    #[serde(flatten)]
    text: LineText,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LineText {
    Prompt { prompt: String },
    Turns { turns: Vec<String> },
}

impl From<&str> for Conversation {
    fn from(text: &str) -> Self {
        Self {
            category: None,
            turns: vec![text.to_owned()],
        }
    }
}

/// The default prompts: prose, code, and an answer that repeats its prompt.
const DEFAULTS: [&str; 3] = [
    "Why is the sky blue?",
    "Write a Python function that checks whether a number is prime.",
    "Correct the spelling and repeat the whole text: The quick brown fox jumpd over the lazy dog, \
     and the lazy dog slept on while the quick brown fox jumpd back.",
];

/// The prompts of the options --prompt and --prompts, or the defaults.
pub(super) fn from_options(prompts: &[String], file: Option<&Path>) -> Result<Vec<Conversation>> {
    let mut all: Vec<Conversation> = prompts.iter().map(|text| text.as_str().into()).collect();
    if let Some(file) = file {
        all.extend(read_file(file)?);
    }
    if all.is_empty() {
        all.extend(DEFAULTS.map(Conversation::from));
    }
    Ok(all)
}

/// All of stdin as one prompt, without the final line break that `echo` and editors add.
pub(super) fn read_stdin() -> Result<String> {
    let text = io::read_to_string(io::stdin()).map_err(|error| unreadable("stdin", error))?;
    Ok(without_final_break(&text).to_owned())
}

/// The text without the line break that editors and `echo` put at the end.
pub(super) fn without_final_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// The conversations of a file.
fn read_file(path: &Path) -> Result<Vec<Conversation>> {
    let text = read_text(path)?;
    // Some editors start UTF-8 files with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    parse(text).map_err(|reason| Error::io(path, invalid(reason)))
}

/// A file's text.
pub(super) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, error))
}

/// An error of reading text, with advice if the text isn't UTF-8.
pub(super) fn unreadable(source: impl Into<PathBuf>, error: io::Error) -> Error {
    let advice = "expected UTF-8 text, found other bytes: convert the file, for example with iconv";
    match error.kind() {
        io::ErrorKind::InvalidData => Error::io(source, invalid(advice.into())),
        _ => Error::io(source, error),
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The conversations of a text, without its blank lines; an error names the line.
fn parse(text: &str) -> std::result::Result<Vec<Conversation>, String> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let conversations = lines
        .map(|(index, line)| {
            conversation(line).map_err(|reason| format!("line {}: {reason}", index + 1))
        })
        .collect::<std::result::Result<Vec<_>, _>>()?;
    if conversations.is_empty() {
        return Err("expected one prompt per line, found none".into());
    }
    Ok(conversations)
}

fn conversation(line: &str) -> std::result::Result<Conversation, String> {
    if !line.trim_start().starts_with('{') {
        return Ok(line.into());
    }
    let parsed = serde_json::from_str(line).ok();
    let conversation = parsed.map(|Line { category, text }| Conversation {
        category,
        turns: match text {
            LineText::Prompt { prompt } => vec![prompt],
            LineText::Turns { turns } => turns,
        },
    });
    let conversation = conversation.filter(|conversation| !conversation.turns.is_empty());
    conversation.ok_or_else(|| {
        r#"expected {"prompt": "..."} or {"turns": ["..."]}, because the line starts with a brace"#
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_or_json() {
        let text = "A plain line\r\n\n{\"prompt\": \"A \\\"quoted\\\" one\", \"id\": 7}\n{\"turns\": [\"First\", \"Second\"]}";
        let conversations = parse(text).unwrap();
        let turns: Vec<_> = conversations
            .into_iter()
            .map(|conversation| conversation.turns)
            .collect();
        assert_eq!(
            turns,
            [
                &["A plain line"][..],
                &["A \"quoted\" one"],
                &["First", "Second"]
            ]
        );
    }

    #[test]
    fn categories_are_kept() {
        let text = "{\"category\": \"qa\", \"turns\": [\"Why?\"]}\nWhy not?";
        let conversations = parse(text).unwrap();
        let categories = conversations
            .into_iter()
            .map(|conversation| conversation.category);
        assert_eq!(categories.collect::<Vec<_>>(), [Some("qa".into()), None]);
    }

    #[test]
    fn wrong_lines_are_named() {
        for wrong in [
            "{",
            "{\"prompt\": 1}",
            "{\"turns\": []}",
            "{\"text\": \"x\"}",
        ] {
            let message = parse(&format!("fine\n{wrong}")).unwrap_err();
            assert!(
                message.starts_with("line 2: expected {\"prompt\""),
                "{message}"
            );
        }
        assert!(parse(" \n\n").unwrap_err().contains("found none"));
    }
}
