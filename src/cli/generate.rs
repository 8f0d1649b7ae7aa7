//! `specdec generate`: continues a prompt.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use super::answer::{OutputArgs, interrupted};
use super::error::{CliError, Outcome};
use super::options::{ModelArgs, SamplingArgs, conversation};
use super::prompts::{read_stdin, read_text, without_final_break};
use super::terminal::note;
use crate::decoder::SpeculativeDecoder;
use crate::engine::{FinishReason, Generation};
use crate::settings::SpeculativeConfig;
use crate::text::Message;

const EXAMPLES: &str = "\
Examples:
  specdec generate \"Give three tips for better sleep.\"
  specdec generate -t gpt2-medium -d gpt2 --stats \"Once upon a time,\"
  specdec generate --raw \"Once upon a time,\" --temperature 0.8 --top-p 0.95 --seed 7\n  cat mail.txt | specdec generate";

/// Answer a prompt, streaming the text
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The prompt; "-", or no prompt with piped input, reads stdin (without its final line break)
    prompt: Option<String>,
    /// The prompt, given as an option
    #[arg(short, long = "prompt", value_name = "TEXT", conflicts_with = "prompt")]
    prompt_option: Option<String>,
    /// File with the prompt (without its final line break)
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["prompt", "prompt_option"])]
    file: Option<PathBuf>,
    /// System message before the prompt
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Continue the prompt as it is, without the model's chat template
    #[arg(long)]
    raw: bool,
    /// Add each token's log-probability, and those of this many alternatives, to the JSON
    #[arg(long, value_name = "N", requires = "json")]
    logprobs: Option<usize>,
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
    let config = SpeculativeConfig {
        logprobs: args.logprobs,
        ..args.sampling.config(profile.as_ref())?
    };
    config.validate()?;
    let text = args.text()?;
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
    if !args.output.is_json() && generation.finish_reason == FinishReason::Length {
        args.note_the_end(&generation, &config, &decoder);
    }
    Ok(())
}

impl Args {
    /// The prompt: an argument, an option, a file or stdin.
    fn text(&self) -> Outcome<String> {
        let given = self.prompt.as_deref().or(self.prompt_option.as_deref());
        match (given, &self.file) {
            (Some("-"), _) => Ok(read_stdin()?),
            (Some(text), _) => Ok(text.to_owned()),
            (None, Some(file)) => Ok(without_final_break(&read_text(file)?).to_owned()),
            (None, None) if io::stdin().is_terminal() => {
                let message = "no prompt: pass one, as in `specdec generate \"Give three tips for better sleep.\"`, or pipe one in";
                Err(CliError::Usage(message.into()))
            }
            (None, None) => Ok(read_stdin()?),
        }
    }

    /// Says why an answer was cut off, unless it was at the length that the user asked for.
    fn note_the_end(
        &self,
        generation: &Generation,
        config: &SpeculativeConfig,
        decoder: &SpeculativeDecoder,
    ) {
        let tokens = generation.tokens.len();
        if tokens < config.max_new_tokens {
            let context = decoder.info().context_length;
            note(&format!("(the context of {context} tokens is full)"));
        } else if !self.sampling.limits_tokens() {
            note(&format!("(cut off at {tokens} tokens; -n allows more)"));
        }
    }
}
