//! The lines of a conversation: from the line editor, or as they come.

use std::io::{self, BufRead, Write};

use super::editor::{Editor, Typed};
use crate::cli::error::{CliError, Outcome};
use crate::cli::prompts::unreadable;
use crate::cli::terminal::note;
use crate::error::Result;

const PROMPT: &str = "> ";

/// Where lines come from.
pub(super) enum Lines {
    Edited(Box<Editor>),
    /// With a prompt on stderr, if a user types them.
    Plain {
        prompt: bool,
    },
}

/// A line of input.
pub(super) enum Line {
    /// A message or a command.
    Any(String),
    Message(String),
}

impl Lines {
    /// Lines of the line editor.
    pub(super) fn edited(keep_history: bool) -> Result<Self> {
        Ok(Self::Edited(Box::new(Editor::new(keep_history)?)))
    }

    /// Lines of stdin.
    pub(super) fn plain(prompt: bool) -> Self {
        Self::Plain { prompt }
    }

    /// The next line, without its line break; `None` at the end.
    pub(super) fn next(&mut self) -> Outcome<Option<Line>> {
        match self {
            Self::Edited(editor) => next_typed(editor),
            Self::Plain { prompt } => Ok(next_plain(*prompt)?.map(Line::Any)),
        }
    }
}

/// What a user types next; two Ctrl-C in a row at an empty prompt end the program.
fn next_typed(editor: &mut Editor) -> Outcome<Option<Line>> {
    let mut interrupted = false;
    loop {
        match editor.read(PROMPT)? {
            Typed::Line(line) => return Ok(Some(Line::Any(line))),
            Typed::Quoted(message) => return Ok(Some(Line::Message(message))),
            Typed::End => return Ok(None),
            Typed::Interrupted if interrupted => return Err(CliError::Interrupted),
            Typed::Interrupted => {
                note("press Ctrl-C again or Ctrl-D to quit");
                interrupted = true;
            }
            Typed::Dropped => interrupted = false,
        }
    }
}

fn next_plain(prompt: bool) -> Result<Option<String>> {
    if prompt {
        let mut err = io::stderr();
        let _ = write!(err, "{PROMPT}").and_then(|()| err.flush());
    }
    let line = io::stdin().lock().lines().next().transpose();
    let line = line.map_err(|error| unreadable("stdin", error))?;
    if line.is_none() && prompt {
        note("");
    }
    Ok(line)
}
