//! `specdec chat`: a conversation on the terminal, or through pipes.

mod commands;
mod conversation;
mod editor;
mod lines;
mod reply;
mod set;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use super::answer::OutputArgs;
use super::error::{CliError, Outcome, print_error};
use super::options::{ModelArgs, SamplingArgs};
use super::quiet;
use super::terminal::{moves_cursor, note, show_stats};
use crate::decoder::SpeculativeDecoder;
use crate::error::Error;
use crate::settings::SpeculativeConfig;
use crate::text::RenderOptions;
use commands::{Command, Input};
use conversation::Conversation;
use lines::{Line, Lines};
use reply::Reply;

const EXAMPLES: &str = "\
Examples:
  specdec chat
  specdec chat --system \"Answer in one sentence.\" --temperature 0.7 --stats
  echo \"Name three rivers.\" | specdec chat --json

On a terminal, lines can be edited; the arrows and Ctrl-R find earlier ones.
\"\"\" opens and closes a message of several lines, a backslash before Enter
continues a line, and a pasted text is one message. /help lists the commands:
/system, /retry, /more, /undo, /save, /load, /set, /stats, /clear, /exit.";

const KEYS: &str = "\
\"\"\" opens and closes a message of several lines; \\ before Enter continues one.
Ctrl-C stops an answer; twice at an empty prompt, it quits.";

/// What makes room in a context.
const ROOM: &str = "/clear, /undo, or a larger --context-length";

/// Chat with a model: each line of input is a message
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// System message that comes before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Neither read nor write the history of what was typed
    #[arg(long)]
    no_history: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// How a user types an empty text.
const NO_TEXT: &str = "\"\"";

/// A conversation in progress.
struct Chat<'a> {
    output: &'a OutputArgs,
    decoder: SpeculativeDecoder,
    /// The settings of the next answer.
    config: SpeculativeConfig,
    /// Those that the options name.
    initial: SpeculativeConfig,
    conversation: Conversation,
    /// The answer at the conversation's end, if it was given here.
    reply: Option<Reply>,
    /// Whether a user sees the notes, and can react to an error.
    interactive: bool,
    /// Whether answers are wrapped.
    wrapped: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let profile = args.models.profile(args.sampling.prediction.as_deref())?;
    let config = args.sampling.config(profile.as_ref())?;
    let interactive = io::stdin().is_terminal();
    let edited = interactive && io::stdout().is_terminal() && moves_cursor();
    let _quiet = edited.then(quiet::start);
    let decoder = args.models.load(profile.as_ref(), &config)?;
    let config = args.sampling.of_model(config, &decoder);
    let mut chat = Chat {
        output: &args.output,
        decoder,
        initial: config.clone(),
        config,
        conversation: Conversation::new(args.system.as_deref()),
        reply: None,
        interactive,
        wrapped: io::stdout().is_terminal(),
    };
    chat.check(&chat.conversation)?;
    let mut lines = match edited {
        true => Lines::edited(!args.no_history)?,
        false => Lines::plain(interactive),
    };
    if interactive {
        note(&format!("{}; /help lists the commands", args.models.target));
    }
    while let Some(line) = lines.next()? {
        match chat.take(line) {
            Ok(true) => {}
            Ok(false) => break,
            // A user can say it another way; a script can't.
            Err(error @ (CliError::Error(_) | CliError::Usage(_))) if interactive => report(error),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Chat<'_> {
    /// Acts on a line; `false` ends the conversation.
    fn take(&mut self, line: Line) -> Outcome<bool> {
        let input = match line {
            Line::Message(message) => Input::Message(message),
            Line::Any(line) => commands::parse(&line).map_err(CliError::Usage)?,
        };
        match input {
            Input::Empty => {}
            Input::Message(message) => self.answer(message)?,
            Input::Command(Command::Exit, _) => return Ok(false),
            Input::Command(command, argument) => self.execute(command, &argument)?,
        }
        Ok(true)
    }

    fn execute(&mut self, command: Command, argument: &str) -> Outcome {
        match command {
            Command::Help => note(&format!("{}\n{KEYS}", commands::help())),
            Command::System => self.system(argument)?,
            Command::Retry => self.retry()?,
            Command::More => self.more()?,
            Command::Undo => match self.conversation.undo() {
                Some(message) => {
                    self.reply = None;
                    note(&format!("forgot: {}", first_line(&message)));
                }
                None => return Err(CliError::Usage("there is no message to undo".into())),
            },
            Command::Save => self.save(&path(argument))?,
            Command::Load => self.load(&path(argument))?,
            Command::Set => self.set(argument)?,
            Command::Stats => match &self.reply {
                Some(reply) => show_stats(&reply.generation),
                None => return Err(CliError::Usage("there is no answer yet".into())),
            },
            Command::Clear => {
                self.conversation = Conversation::new(self.conversation.system().as_deref());
                self.reply = None;
            }
            Command::Exit => {}
        }
        Ok(())
    }

    /// Fails if the model can't chat, or does not take such a conversation.
    fn check(&self, conversation: &Conversation) -> Outcome {
        let asked = conversation.with_a_question();
        let options = RenderOptions::default();
        self.decoder.chat_prompt(asked.messages(), &options)?;
        Ok(())
    }

    fn system(&mut self, text: &str) -> Outcome {
        if text.is_empty() {
            let system = self.conversation.system();
            note(system.as_deref().unwrap_or("there is no system message"));
            return Ok(());
        }
        let mut changed = self.conversation.clone();
        changed.set_system(if text == NO_TEXT { "" } else { text });
        self.check(&changed)?;
        self.conversation = changed;
        Ok(())
    }

    fn save(&self, file: &Path) -> Outcome {
        let messages = self.conversation.messages().len();
        if messages == 0 {
            return Err(CliError::Usage("there is nothing to save yet".into()));
        }
        self.conversation.save(file)?;
        note(&format!("saved {} to {}", count(messages), file.display()));
        Ok(())
    }

    fn load(&mut self, file: &Path) -> Outcome {
        let loaded = Conversation::load(file)?;
        self.check(&loaded)?;
        note(&count(loaded.messages().len()));
        if loaded.awaits_an_answer() {
            note("/retry answers the last one");
        }
        self.conversation = loaded;
        self.reply = None;
        Ok(())
    }

    fn set(&mut self, text: &str) -> Outcome {
        if text.is_empty() {
            note(&set::list(&self.config));
            return Ok(());
        }
        let changed = set::set(&self.config, &self.initial, text).map_err(CliError::Usage)?;
        if changed.0.draft != self.config.draft
            && let Some(draft) = changed.0.draft
        {
            self.decoder.check_draft(draft)?;
        }
        self.config = changed.0;
        note(&changed.1);
        Ok(())
    }
}

/// Prints an error for a user who can react to it.
fn report(error: CliError) {
    match error {
        CliError::Error(Error::ContextOverflow {
            tokens,
            context_length,
        }) => print_error(&format!(
            "{tokens} tokens do not fit the context of {context_length}: {ROOM}"
        )),
        error => drop(error.report()),
    }
}

fn count(messages: usize) -> String {
    match messages {
        1 => "1 message".to_owned(),
        several => format!("{several} messages"),
    }
}

/// A path that a user typed; no shell has replaced the home folder's `~`.
fn path(typed: &str) -> PathBuf {
    let in_home = typed.strip_prefix("~/").zip(std::env::home_dir());
    in_home.map_or_else(|| typed.into(), |(path, home)| home.join(path))
}

/// The start of a text, for a note.
fn first_line(text: &str) -> String {
    const SHOWN: usize = 60;
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}
