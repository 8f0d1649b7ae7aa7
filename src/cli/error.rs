//! Errors of commands, their messages and exit statuses.

use std::error::Error as _;
use std::io::{self, IsTerminal, Write};
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::flags;
use super::terminal::note;
use crate::error::Error;

/// What a command returns.
pub(super) type Outcome<T = ()> = Result<T, CliError>;

/// Why a command ended early.
#[derive(Debug)]
pub(super) enum CliError {
    /// An error of the library, or of reading a file.
    Error(Error),
    /// An error of loading what a profile names; the message mentions --no-profile.
    Profile(Error),
    /// Invalid usage that the parser does not catch.
    Usage(String),
    /// Writing to stdout failed.
    Output(io::Error),
    /// `verify` found that speculation is not lossless.
    NotLossless(String),
    /// Ctrl-C.
    Interrupted,
}

impl CliError {
    /// Prints the error in one line, and returns the exit status.
    pub(super) fn report(self) -> u8 {
        let (message, status) = match self {
            // A setting out of range is a usage error, like one that can't be parsed.
            Self::Error(error @ Error::InvalidConfig { .. }) => (flags::in_terms_of(&error), 2),
            Self::Error(error) => (flags::in_terms_of(&error), 1),
            Self::Profile(error) => {
                let error = flags::in_terms_of(&error);
                let advice = "named by the profile of `specdec tune`; --no-profile ignores it";
                (format!("{error} ({advice})"), 1)
            }
            Self::Usage(message) => (message, 2),
            Self::NotLossless(message) => (message, 1),
            // The reader of our output closed it (`| head`), which is no error.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
            Self::Output(error) => (format!("writing to stdout failed: {error}"), 1),
            Self::Interrupted => return 130,
        };
        print_error(&message);
        status
    }
}

/// Prints an error message in one line, even if a library's message has several; on a terminal, wrapped.
pub(super) fn print_error(message: &str) {
    let lines = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    note(&format!("specdec: {}", printable(&line)));
}

/// A line without control characters: the names in it may be a stranger's, and have a terminal do things.
fn printable(line: &str) -> String {
    line.chars().fold(String::new(), |mut text, letter| {
        match letter.is_control() {
            true => text.extend(letter.escape_default()),
            false => text.push(letter),
        }
        text
    })
}

/// Prints an error of the argument parser, in the voice of all others.
pub(super) fn print_usage_error(error: &clap::Error) {
    if let Some(message) = invalid_value(error).or_else(|| unquoted_text(error)) {
        return print_error(&message);
    }
    let rendered = match io::stderr().is_terminal() {
        true => error.render().ansi().to_string(),
        false => error.render().to_string(),
    };
    // The parser's own first word, whatever its colour.
    let message = rendered.replacen("error:", "specdec:", 1);
    let _ = write!(io::stderr(), "{message}");
}

/// A text of several words without quotes, of which the second word is taken for another argument.
fn unquoted_text(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word))
            if error.kind() == ErrorKind::UnknownArgument && !word.starts_with('-') =>
        {
            Some(format!(
                "unexpected argument {word}: --target names a model, and a text of several words needs quotes"
            ))
        }
        _ => None,
    }
}

/// A value that is not of its option's type: `invalid --gamma x: expected a whole number`.
fn invalid_value(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::ValueValidation {
        return None;
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let option = text(ContextKind::InvalidArg)?.split_whitespace().next()?;
    let value = match text(ContextKind::InvalidValue)? {
        "" => "\"\"",
        value => value,
    };
    let source = error.source()?;
    let expected = if let Some(error) = source.downcast_ref::<ParseIntError>() {
        match error.kind() {
            IntErrorKind::PosOverflow => "a smaller number".into(),
            _ => "an integer >= 0".into(),
        }
    } else if source.is::<ParseFloatError>() {
        "a number".into()
    } else if let Some(Error::InvalidConfig { expected, .. }) = source.downcast_ref() {
        expected.clone()
    } else if let Some((_, range)) = source.to_string().split_once(" is not in ") {
        match range.split_once("..=") {
            Some((first, last)) => format!("an integer from {first} to {last}"),
            None => format!("an integer >= {}", range.trim_end_matches('.')),
        }
    } else {
        return Some(format!("invalid {option} {value}: {source}"));
    };
    Some(format!("invalid {option} {value}: expected {expected}"))
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The only bare I/O errors of the command line come from writing results; errors of reading name their file.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\x1b[2Jb\u{9b}ü漢"), "a\\u{1b}[2Jb\\u{9b}ü漢");
    }
}
