//! `specdec generate`: continues a prompt.

use std::io::{self, IsTerminal};

use super::answer::{OutputArgs, interrupted};
use super::error::{CliError, Outcome};
use super::options::{ModelArgs, SamplingArgs, prompt};
use super::prompts::read_stdin;

const EXAMPLES: &str = "\
Examples:
  specdec generate \"Why is the sky blue?\"
  specdec generate -t gpt2-medium -d gpt2 --stats \"Once upon a time,\"
  git diff | specdec generate --raw --temperature 0.8 --top-p 0.95 --seed 7";

/// Answer a prompt, streaming the text
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The prompt; "-", or no prompt with piped input, reads stdin (without its final line break)
    prompt: Option<String>,
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
    let text = match args.prompt.as_deref() {
        Some("-") => read_stdin()?,
        Some(text) => text.to_owned(),
        None if io::stdin().is_terminal() => {
            let message = "no prompt: pass one, as in `specdec generate \"Why is the sky blue?\"`, or pipe one in";
            return Err(CliError::Usage(message.into()));
        }
        None => read_stdin()?,
    };
    let decoder = args.models.load(profile.as_ref(), &config)?;
    let prompt = prompt(&decoder, &text, args.raw)?;
    let generation = args.output.show(decoder.stream(prompt, &config)?)?;
    if interrupted(&generation) {
        return Err(CliError::Interrupted);
    }
    Ok(())
}
