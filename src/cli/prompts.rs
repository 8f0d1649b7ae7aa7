//! Prompts from stdin, and from files: one a line, as text or as JSON.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// A line of JSON: a prompt, or the turns of a conversation, of which the first is taken.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Prompt { prompt: String },
    Turns { turns: Vec<String> },
}

/// Prompts where none is given: prose, code, and a text that repeats its prompt.
const DEFAULTS: [&str; 3] = [
    "Why is the sky blue?",
    "Write a Python function that checks whether a number is prime.",
    "Correct the spelling and repeat the whole text: The quick brown fox jumpd over the lazy dog, \
     and the lazy dog slept on while the quick brown fox jumpd back.",
];

/// The prompts given one by one and in a file, or the defaults.
pub(super) fn of_options(given: &[String], file: Option<&Path>) -> Result<Vec<String>> {
    let mut all = given.to_vec();
    if let Some(file) = file {
        all.extend(read_file(file)?);
    }
    if all.is_empty() {
        all.extend(DEFAULTS.map(str::to_owned));
    }
    Ok(all)
}

/// All of stdin as one prompt, less the line break that `echo` and editors put at its end.
pub(super) fn read_stdin() -> Result<String> {
    let text = io::read_to_string(io::stdin()).map_err(|error| unreadable("stdin", error))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// The prompts of a file.
fn read_file(path: &Path) -> Result<Vec<String>> {
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

/// The prompts of a text, blank lines left out; an error says which line is wrong.
fn parse(text: &str) -> std::result::Result<Vec<String>, String> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let prompts = lines
        .map(|(index, line)| prompt(line).map_err(|reason| format!("line {}: {reason}", index + 1)))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    if prompts.is_empty() {
        return Err("expected a prompt a line, found none".into());
    }
    Ok(prompts)
}

fn prompt(line: &str) -> std::result::Result<String, String> {
    if !line.trim_start().starts_with('{') {
        return Ok(line.to_owned());
    }
    let parsed = serde_json::from_str(line).ok();
    let prompt = parsed.and_then(|line| match line {
        Line::Prompt { prompt } => Some(prompt),
        Line::Turns { turns } => turns.into_iter().next(),
    });
    prompt.ok_or_else(|| {
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
        assert_eq!(
            parse(text).unwrap(),
            ["A plain line", "A \"quoted\" one", "First"]
        );
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
