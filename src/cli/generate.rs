//! `specdec generate`: continues a prompt.

use std::io::{self, IsTerminal};

use super::answer::{OutputArgs, interrupted};
use super::failure::{Failure, Outcome};
use super::options::{ModelArgs, SamplingArgs, prompt};
use super::prompts::read_stdin;

const EXAMPLES: &str = "\
Examples:
  specdec generate \"Why is the sky blue?\"
  specdec generate --target Qwen/Qwen2.5-1.5B-Instruct --draft Qwen/Qwen2.5-0.5B-Instruct --stats \"Write a haiku\"
  git diff | specdec generate --raw --temperature 0.8 --top-p 0.95 --seed 7 --json";

/// Answer a prompt, streaming the text
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The prompt; "-", or none with piped input, reads stdin (less its last line break)
    prompt: Option<String>,
    /// Continue the prompt as it is, in place of answering it through the model's chat template
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
            let message = "no prompt: give one, as in `specdec generate \"Why is the sky blue?\"`, or pipe one in";
            return Err(Failure::Usage(message.into()));
        }
        None => read_stdin()?,
    };
    let decoder = args.models.load(profile.as_ref())?;
    let prompt = prompt(&decoder, &text, args.raw)?;
    let generation = args.output.show(decoder.stream(prompt, &config)?)?;
    if interrupted(&generation) {
        return Err(Failure::Interrupted);
    }
    Ok(())
}
