//! `specdec bench` and `benchmark`: speculative against plain decoding, prompt by prompt.

mod html;
mod report;
mod setup;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use indicatif::ProgressBar;

use super::answer::write_json;
use super::error::{Outcome, print_error};
use super::log::{Form, LogArgs};
use super::options::{
    self, LoadingArgs, ModelArgs, SamplingArgs, TARGET_HELP, draft_help, with_default,
};
use super::prompts::Conversation;
use super::{prompts, terminal};
use crate::decoder::SpeculativeDecoder;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::evaluation::benchmark::{Benchmark, PassTimes};
use crate::files::{self, Access};
use crate::settings::SpeculativeConfig;
use crate::text::Message;
use report::{Report, TurnResult};
use setup::Setup;

const EXAMPLES: &str = "\
Examples:
  specdec bench
  specdec bench --target gpt2-medium --draft gpt2 --prompt \"Once upon a time\"
  specdec bench --prompts prompts.jsonl --report bench.html
  specdec bench --quick --runs 5
  specdec bench --draft ngram --temperature 0.8 --json";

const PROGRAM_EXAMPLES: &str = "\
Example:
  benchmark --target-model gpt2-medium --draft-model gpt2 --prompt \"Hello\"";

/// Measure the speedup of speculative over plain decoding
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    models: ModelArgs,
}

/// Measure the speedup of speculative over plain decoding
#[derive(clap::Parser)]
#[command(name = "benchmark", version, after_help = PROGRAM_EXAMPLES)]
pub(super) struct Program {
    #[command(flatten)]
    workload: Workload,
    #[arg(long, value_name = "MODEL", default_value = crate::hub::DEFAULT_MODEL, help = TARGET_HELP)]
    target_model: String,
    #[arg(long, value_name = "MODEL", default_value = "auto", help = draft_help("a model", ""))]
    draft_model: String,
    /// Same as --device cuda
    #[arg(long, conflicts_with = "device")]
    cuda: bool,
    #[command(flatten)]
    loading: LoadingArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// What to measure.
#[derive(clap::Args)]
#[command(mut_arg("max_new_tokens", |arg| with_default(arg, "128")))]
struct Workload {
    /// A prompt; can be repeated [default: three short prompts]
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// File of prompts, one per line: text, or JSON with "prompt" or "turns" and optionally "category"
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Runs per prompt, with and without speculation
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Continue the prompts as they are, without the model's chat template
    #[arg(long)]
    raw: bool,
    /// Only compare; do not time forward passes by number of rows and context length
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Also write an HTML page with tables and plots
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Runs `specdec bench`; `line` holds the program's arguments, its name first.
pub(super) fn run(args: &Args, line: &[OsString]) -> Outcome {
    args.workload.run(&args.models, line)
}

impl Program {
    /// Starts the logging that the arguments ask for.
    pub(super) fn start_logging(&self) -> Result<()> {
        self.log.start(Form::Sentences)
    }

    /// Runs `benchmark`; `line` holds its arguments, its name first.
    pub(super) fn run(&self, line: &[OsString]) -> Outcome {
        let mut loading = self.loading.clone();
        if self.cuda {
            loading.device = Some(Device::Cuda(0));
        }
        let models = ModelArgs {
            target: self.target_model.clone(),
            draft: Some(self.draft_model.clone()),
            no_profile: true,
            loading,
            learns: false,
        };
        self.workload.run(&models, line)
    }
}

impl Workload {
    fn run(&self, models: &ModelArgs, line: &[OsString]) -> Outcome {
        if let Some(path) = &self.report {
            files::check_writable(path)?;
        }
        let profile = models.profile(self.sampling.prediction.as_deref())?;
        let config = self.sampling.config(profile.as_ref())?;
        let conversations = prompts::from_options(&self.prompt, self.prompts.as_deref())?;
        let began = Instant::now();
        let decoder = models.load(profile.as_ref(), &config)?;
        let config = self.sampling.of_model(config, &decoder);
        let load_seconds = began.elapsed().as_secs_f64();
        let setup = Setup::new(
            models,
            profile.as_ref(),
            &config,
            self.runs,
            &setup::command_line(line),
        );
        let bar = terminal::counter("Measuring", self.measurements(&conversations, &config));
        let counted = bar.clone();
        let benchmark = Benchmark::new(decoder.clone()).running(move |stream| {
            let generation = stream.run();
            counted.inc(1);
            generation
        });
        if !self.json {
            print(&bar, &report::header())?;
        }
        let mut results = Vec::with_capacity(conversations.len());
        for conversation in conversations {
            self.compare(&benchmark, &decoder, &conversation, &config, |result| {
                if !self.json {
                    print(&bar, &result.row())?;
                }
                results.push(result);
                Ok(())
            })?;
        }
        let passes = match self.quick {
            true => None,
            false => Some(PassTimes::measure_with(&decoder, || bar.inc(1))?),
        };
        bar.finish_and_clear();
        let report = Report::new(&decoder, setup, results, passes, load_seconds);
        // Before the page, so that a failed write does not lose the result.
        if self.json {
            write_json(&report)?;
        } else {
            print(&bar, &report.text())?;
        }
        if let Some(path) = &self.report {
            files::write(path, html::page(&report)?, Access::Shared)?;
        }
        Ok(())
    }

    /// The number of requests and of timed passes.
    fn measurements(&self, conversations: &[Conversation], config: &SpeculativeConfig) -> usize {
        let turns = conversations.iter();
        let turns: usize = turns.map(|conversation| conversation.turns.len()).sum();
        let passes = if self.quick {
            0
        } else {
            PassTimes::MEASUREMENTS
        };
        turns * Benchmark::requests(config, self.runs.into()) + passes
    }

    /// Compares every turn of a conversation, each with the turns before it in its prompt. Turns that no longer fit the context
    /// are left out.
    fn compare(
        &self,
        benchmark: &Benchmark,
        decoder: &SpeculativeDecoder,
        conversation: &Conversation,
        config: &SpeculativeConfig,
        mut each: impl FnMut(TurnResult) -> Outcome,
    ) -> Outcome {
        let runs = usize::from(self.runs);
        let mut messages = Vec::new();
        for turn in &conversation.turns {
            messages.push(Message::new("user", turn));
            let prompt = options::conversation(decoder, &messages, self.raw)?;
            let comparison = match benchmark.run_comparison(prompt, config, runs) {
                Err(error @ Error::ContextOverflow { .. }) if messages.len() > 1 => {
                    print_error(&format!(
                        "this turn and the following ones are left out: {error}"
                    ));
                    break;
                }
                comparison => comparison?,
            };
            messages.push(Message::new("assistant", &comparison.text));
            each(TurnResult {
                prompt: turn.clone(),
                category: conversation.category.clone(),
                comparison,
            })?;
        }
        Ok(())
    }
}

/// Prints a line of the table above the progress bar.
fn print(bar: &ProgressBar, line: &str) -> io::Result<()> {
    bar.suspend(|| writeln!(io::stdout().lock(), "{line}"))
}
