//! `specdec generate`: continues a prompt.

use std::io::{self, IsTerminal};

use super::answer::{OutputArgs, interrupted};
use super::error::{CliError, Outcome};
use super::options::{ModelArgs, SamplingArgs, conversation};
use super::prompts::read_stdin;
use crate::text::Message;

const EXAMPLES: &str = "\
Examples:
  specdec generate \"Give three tips for better sleep.\"
  specdec generate -t gpt2-medium -d gpt2 --stats \"Once upon a time,\"
  git diff | specdec generate --raw --temperature 0.8 --top-p 0.95 --seed 7";

/// Answer a prompt, streaming the text
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The prompt; "-", or no prompt with piped input, reads stdin (without its final line break)
    prompt: Option<String>,
    /// The prompt, given as an option
    #[arg(short, long = "prompt", value_name = "TEXT", conflicts_with = "prompt")]
    prompt_option: Option<String>,
    /// System message before the prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Continue the prompt as it is, without the model's chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let profile = args.models.profile(args.sampling.prediction.as_deref())?;
    let config = args.sampling.config(profile.as_ref())?;
    let given = args.prompt.as_deref().or(args.prompt_option.as_deref());
    let text = match given {
        Some("-") => read_stdin()?,
        Some(text) => text.to_owned(),
        None if io::stdin().is_terminal() => {
            let message = "no prompt: pass one, as in `specdec generate \"Give three tips for better sleep.\"`, or pipe one in";
            return Err(CliError::Usage(message.into()));
        }
        None => read_stdin()?,
    };
    let decoder = args.models.load(profile.as_ref(), &config)?;
    let config = args.sampling.of_model(config, &decoder);
    let system = args.system.iter().map(|text| Message::new("system", text));
    let messages: Vec<Message> = system.chain([Message::new("user", text)]).collect();
    let prompt = conversation(&decoder, &messages, args.raw)?;
    let stream = decoder.stream(prompt, &config)?;
    let generation = args.output.show(stream, None)?;
    if interrupted(&generation) {
        return Err(CliError::Interrupted);
    }
    Ok(())
}
