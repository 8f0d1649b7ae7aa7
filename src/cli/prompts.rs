//! Prompts from stdin, and from files: one a line, as text or as JSON.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// What a user says, one turn after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// What kind of question it is, where a file says.
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

impl From<&str> for Question {
    fn from(text: &str) -> Self {
        Self {
            category: None,
            turns: vec![text.to_owned()],
        }
    }
}

/// Prompts where none is given: prose, code, and a text that repeats its prompt.
const DEFAULTS: [&str; 3] = [
    "Why is the sky blue?",
    "Write a Python function that checks whether a number is prime.",
    "Correct the spelling and repeat the whole text: The quick brown fox jumpd over the lazy dog, \
     and the lazy dog slept on while the quick brown fox jumpd back.",
];

/// The questions given one by one and in a file, or the defaults.
pub(super) fn of_options(given: &[String], file: Option<&Path>) -> Result<Vec<Question>> {
    let mut all: Vec<Question> = given.iter().map(|text| text.as_str().into()).collect();
    if let Some(file) = file {
        all.extend(read_file(file)?);
    }
    if all.is_empty() {
        all.extend(DEFAULTS.map(Question::from));
    }
    Ok(all)
}

/// All of stdin as one prompt, less the line break that `echo` and editors put at its end.
pub(super) fn read_stdin() -> Result<String> {
    let text = io::read_to_string(io::stdin()).map_err(|error| unreadable("stdin", error))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// The questions of a file.
fn read_file(path: &Path) -> Result<Vec<Question>> {
    let text = read_text(path)?;
    // Some editors mark UTF-8 by a first character that is no text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    parse(text).map_err(|reason| Error::io(path, invalid(reason)))
}

/// A file's text.
pub(super) fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| unreadable(path, error))
}

/// An error of reading text, with what to do about it where it isn't UTF-8.
pub(super) fn unreadable(source: impl Into<PathBuf>, error: io::Error) -> Error {
    let advice = "expected UTF-8 text, found other bytes: convert it first, with iconv for example";
    match error.kind() {
        io::ErrorKind::InvalidData => Error::io(source, invalid(advice.into())),
        _ => Error::io(source, error),
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The questions of a text, blank lines left out; an error says which line is wrong.
fn parse(text: &str) -> std::result::Result<Vec<Question>, String> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let questions = lines
        .map(|(index, line)| {
            question(line).map_err(|reason| format!("line {}: {reason}", index + 1))
        })
        .collect::<std::result::Result<Vec<_>, _>>()?;
    if questions.is_empty() {
        return Err("expected a prompt a line, found none".into());
    }
    Ok(questions)
}

fn question(line: &str) -> std::result::Result<Question, String> {
    if !line.trim_start().starts_with('{') {
        return Ok(line.into());
    }
    let parsed = serde_json::from_str(line).ok();
    let question = parsed.map(|Line { category, text }| Question {
        category,
        turns: match text {
            LineText::Prompt { prompt } => vec![prompt],
            LineText::Turns { turns } => turns,
        },
    });
    let question = question.filter(|question| !question.turns.is_empty());
    question.ok_or_else(|| {
        r#"expected {"prompt": "..."} or {"turns": ["..."]}, as the line begins with a brace"#
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_or_json() {
        let text = "A plain line\r\n\n{\"prompt\": \"A \\\"quoted\\\" one\", \"id\": 7}\n{\"turns\": [\"First\", \"Second\"]}";
        let questions = parse(text).unwrap();
        let turns: Vec<_> = questions
            .into_iter()
            .map(|question| question.turns)
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
        let questions = parse(text).unwrap();
        let categories = questions.into_iter().map(|question| question.category);
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
