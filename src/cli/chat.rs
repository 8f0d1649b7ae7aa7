//! `specdec chat`: a conversation on the terminal, or through pipes.

use std::io::{self, BufRead, IsTerminal, Write};

use super::answer::{OutputArgs, interrupted};
use super::error::{CliError, Outcome};
use super::options::{ModelArgs, SamplingArgs};
use super::prompts::unreadable;
use crate::decoder::SpeculativeDecoder;
use crate::error::Error;
use crate::settings::SpeculativeConfig;
use crate::text::Message;

const EXAMPLES: &str = "\
Examples:
  specdec chat
  specdec chat --system \"Answer in one sentence.\" --temperature 0.7 --stats
  echo \"Name three rivers.\" | specdec chat --json";

const COMMANDS: &str = "\
/help   show this list
/clear  forget the conversation
/exit   quit (Ctrl-D does too)
Ctrl-C stops a running answer; between answers, it quits.";

/// Chat with a model: each line of input is a message
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// System message that comes before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// A conversation in progress.
struct Chat<'a> {
    args: &'a Args,
    config: SpeculativeConfig,
    decoder: SpeculativeDecoder,
    messages: Vec<Message>,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let profile = args.models.profile(args.sampling.prediction.as_deref())?;
    let config = args.sampling.config(profile.as_ref())?;
    let mut chat = Chat {
        args,
        decoder: args.models.load(profile.as_ref(), &config)?,
        config,
        messages: Vec::new(),
    };
    chat.clear();
    chat.check()?;
    let interactive = io::stdin().is_terminal();
    if interactive {
        note("/help lists the commands");
    }
    while let Some(line) = read_line(interactive)? {
        match line.trim() {
            "" => {}
            "/exit" => break,
            "/clear" => chat.clear(),
            "/help" => note(COMMANDS),
            _ => match chat.answer(line) {
                // A user can shorten the message or clear the conversation; a script can't.
                Err(CliError::Error(error)) if interactive => {
                    CliError::Error(error).report();
                }
                outcome => outcome?,
            },
        }
    }
    Ok(())
}

impl Chat<'_> {
    fn clear(&mut self) {
        let system = self.args.system.iter();
        self.messages = system.map(|text| Message::new("system", text)).collect();
    }

    /// Fails now, not after the first message, if the model can't chat or doesn't take a system message.
    fn check(&self) -> Outcome {
        let first = [&self.messages[..], &[Message::new("user", "Hello")]].concat();
        self.decoder.chat_prompt(&first)?;
        Ok(())
    }

    /// Answers a message; after an error the conversation is unchanged.
    fn answer(&mut self, message: String) -> Outcome {
        let before = self.messages.len();
        self.messages.push(Message::new("user", message));
        let answered = self.stream_answer();
        if answered.is_err() {
            self.messages.truncate(before);
        }
        answered
    }

    fn stream_answer(&mut self) -> Outcome {
        let prompt = self.decoder.chat_prompt(&self.messages)?;
        let stream = self.decoder.stream(prompt, &self.config)?;
        let generation = self.args.output.show(stream)?;
        let cancelled = interrupted(&generation);
        self.messages
            .push(Message::new("assistant", generation.text));
        if cancelled && !io::stdin().is_terminal() {
            return Err(CliError::Interrupted);
        }
        Ok(())
    }
}

/// The next line of stdin, without its line break; `None` at its end.
fn read_line(interactive: bool) -> Result<Option<String>, Error> {
    if interactive {
        let mut err = io::stderr();
        let _ = write!(err, "> ").and_then(|()| err.flush());
    }
    let line = io::stdin().lock().lines().next().transpose();
    let line = line.map_err(|error| unreadable("stdin", error))?;
    if line.is_none() && interactive {
        note("");
    }
    Ok(line)
}

/// Prints a note for the user on stderr.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
