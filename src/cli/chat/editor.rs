//! The line editor: arrows, history, search, completion, and messages of several lines.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Helper};

use super::{commands, set};
use crate::cli::prompts::unreadable;
use crate::cli::terminal::note;
use crate::cli::{profile, quiet};
use crate::error::Result;
use crate::files;

/// Opens and closes a message of several lines.
const QUOTES: &str = "\"\"\"";
/// The entries that the history keeps.
const MAX_HISTORY: usize = 1000;

/// What was typed.
pub(super) enum Typed {
    /// A message or a command.
    Line(String),
    /// A message, whatever it starts with.
    Quoted(String),
    /// Ctrl-C on a line that had text, which is dropped.
    Dropped,
    /// Ctrl-C on an empty line.
    Interrupted,
    /// Ctrl-D.
    End,
}

/// The line editor of a terminal.
pub(super) struct Editor {
    editor: rustyline::Editor<Assistant, FileHistory>,
    /// Where the history is kept, if it is.
    history: Option<PathBuf>,
}

impl Editor {
    /// An editor that knows what was typed in earlier conversations, if the history is kept.
    pub(super) fn new(keep_history: bool) -> Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(MAX_HISTORY)
            .map_err(failed)?
            .build();
        let mut editor = rustyline::Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Assistant::default()));
        let mut new = Self {
            editor,
            history: None,
        };
        if keep_history {
            new.load_history();
        }
        Ok(new)
    }

    /// Loads the history; a conversation does without, if that fails.
    fn load_history(&mut self) {
        let Some(folder) = profile::cache_folder() else {
            return;
        };
        let file = folder.join("chat_history");
        let loaded = files::create_folder(&folder)
            .map_err(|error| error.to_string())
            .and_then(|()| match self.editor.load_history(&file) {
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                loaded => loaded.map_err(|error| format!("{}: {error}", file.display())),
            });
        match loaded {
            Ok(()) => self.history = Some(file),
            Err(error) => note(&format!("the history is not kept: {error}")),
        }
    }

    /// Reads what a user types after the prompt.
    pub(super) fn read(&mut self, prompt: &str) -> Result<Typed> {
        if let Some(assistant) = self.editor.helper_mut() {
            *assistant = Assistant::default();
        }
        let read = self.editor.readline(prompt);
        quiet::keep_pastes_whole();
        let assistant = self.editor.helper();
        match read {
            Ok(text) => {
                let continued = assistant.map(|assistant| assistant.continued.take());
                self.remember(&text);
                Ok(typed(&text, &continued.unwrap_or_default()))
            }
            Err(ReadlineError::Interrupted) => {
                let dropped = assistant.is_some_and(|assistant| assistant.has_text.get());
                Ok(if dropped {
                    Typed::Dropped
                } else {
                    Typed::Interrupted
                })
            }
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(failed(error)),
        }
    }

    /// Adds a line to the history, and to its file at once: another conversation may be open.
    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        let kept = self
            .editor
            .add_history_entry(text)
            .and_then(|_| match &self.history {
                Some(file) => self.editor.append_history(file),
                None => Ok(()),
            });
        if let Err(error) = kept {
            note(&format!("the history is no longer kept: {error}"));
            self.history = None;
        }
    }
}

/// An error of reading from the terminal.
fn failed(error: ReadlineError) -> crate::error::Error {
    let error = match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other),
    };
    unreadable("stdin", error)
}

/// Takes quotes off, and the backslashes that let a line go on.
fn typed(text: &str, continued: &[String]) -> Typed {
    if let Some(message) = quoted(text) {
        return Typed::Quoted(message.to_owned());
    }
    let mut text = text.to_owned();
    // From the last to the first, so that the earlier ones are still found.
    for before in continued.iter().rev() {
        if text
            .strip_prefix(before.as_str())
            .is_some_and(|rest| rest.starts_with("\\\n"))
        {
            text.remove(before.len());
        }
    }
    Typed::Line(text)
}

/// What stands between quotes, if the text is quoted.
fn quoted(text: &str) -> Option<&str> {
    let message = text.trim().strip_prefix(QUOTES)?.strip_suffix(QUOTES)?;
    let message = message.strip_prefix('\n').unwrap_or(message);
    Some(message.strip_suffix('\n').unwrap_or(message))
}

/// What the editor asks while a line is typed.
#[derive(Default)]
struct Assistant {
    has_text: Cell<bool>,
    /// The text before each backslash after which a user typed Enter. A backslash at the end of a pasted line is text.
    continued: RefCell<Vec<String>>,
}

impl Helper for Assistant {}

impl Highlighter for Assistant {}

impl Hinter for Assistant {
    type Hint = String;

    /// Is told of every change; there are no hints.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.has_text.set(!line.is_empty());
        None
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        let opens = text.trim_start().starts_with(QUOTES);
        if opens {
            return Ok(match quoted(text) {
                Some(_) => ValidationResult::Valid(None),
                None => ValidationResult::Incomplete,
            });
        }
        if let Some(before) = text.strip_suffix('\\') {
            self.continued.borrow_mut().push(before.to_owned());
            return Ok(ValidationResult::Incomplete);
        }
        Ok(ValidationResult::Valid(None))
    }
}

impl Completer for Assistant {
    type Candidate = String;

    /// Completes commands, and the names of settings after /set.
    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..position];
        let matching = |names: &mut dyn Iterator<Item = &'static str>, typed: &str| {
            let matching = names.filter(|name| name.starts_with(typed));
            matching.map(|name| format!("{name} ")).collect()
        };
        if let Some(name) = typed.strip_prefix("/set ") {
            return Ok((position - name.len(), matching(&mut set::names(), name)));
        }
        match typed.starts_with('/') {
            true => Ok((0, matching(&mut commands::names(), typed))),
            false => Ok((position, Vec::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustyline::history::MemHistory;

    use super::*;

    fn line(text: &str, continued: &[&str]) -> String {
        let continued: Vec<String> = continued.iter().map(|text| (*text).to_owned()).collect();
        match typed(text, &continued) {
            Typed::Line(line) => line,
            _ => panic!("{text} is quoted"),
        }
    }

    #[test]
    fn quotes_hold_several_lines() {
        assert_eq!(quoted("\"\"\"one\ntwo\"\"\""), Some("one\ntwo"));
        assert_eq!(quoted(" \"\"\"\n/one\n\ntwo\n\"\"\" "), Some("/one\n\ntwo"));
        assert_eq!(quoted("\"\"\"one"), None);
        assert_eq!(quoted("\"\"\"\""), None);
        assert_eq!(quoted("one \"\"\"two\"\"\""), None);
    }

    #[test]
    fn only_typed_backslashes_join_lines() {
        assert_eq!(
            line("one\\\ntwo\\\nthree", &["one", "one\\\ntwo"]),
            "one\ntwo\nthree"
        );
        assert_eq!(line("#define A \\\n 1", &[]), "#define A \\\n 1");
        // What was typed and then changed.
        assert_eq!(line("two", &["one"]), "two");
    }

    #[test]
    fn commands_and_settings_are_completed() {
        let history = MemHistory::new();
        let complete = |line: &str| {
            let context = Context::new(&history);
            Assistant::default()
                .complete(line, line.len(), &context)
                .unwrap()
        };
        assert_eq!(complete("/und"), (0, vec!["/undo ".to_owned()]));
        assert_eq!(complete("/set top_").1, ["top_k ", "top_p "]);
        assert_eq!(complete("/set top_").0, 5);
        assert_eq!(complete("und").1, Vec::<String>::new());
    }
}
