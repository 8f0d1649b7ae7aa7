//! `specdec bench` and `benchmark`: plain against speculative decoding, prompt by prompt.

mod html;
mod report;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use indicatif::ProgressBar;

use super::answer::write_json;
use super::failure::{Outcome, say};
use super::options::{LoadingArgs, ModelArgs, SamplingArgs, conversation};
use super::prompts::Question;
use super::{prompts, terminal};
use crate::benchmark::{Benchmark, PassTimes};
use crate::decoder::SpeculativeDecoder;
use crate::device::Device;
use crate::error::Error;
use crate::files::{self, Access};
use crate::settings::SpeculativeConfig;
use crate::text::Message;
use report::{Report, TurnResult};

const EXAMPLES: &str = "\
Examples:
  specdec bench
  specdec bench --target gpt2-medium --draft gpt2 --prompt \"Once upon a time\" --runs 5
  specdec bench --prompts questions.jsonl --report bench.html
  specdec bench --draft ngram --temperature 0.8 --json";

const PROGRAM_EXAMPLES: &str = "\
Example:
  benchmark --target-model gpt2-medium --draft-model gpt2 --prompt \"Once upon a time\" --runs 5";

/// Measure plain against speculative decoding, side by side
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    workload: Workload,
    #[command(flatten)]
    models: ModelArgs,
}

/// Measure plain against speculative decoding, side by side
#[derive(clap::Parser)]
#[command(name = "benchmark", version, after_help = PROGRAM_EXAMPLES)]
pub(super) struct Program {
    #[command(flatten)]
    workload: Workload,
    /// Target: a hub name, a folder, a .gguf file, pypi:PACKAGE==VERSION or an alias
    #[arg(long, value_name = "MODEL", default_value = crate::DEFAULT_MODEL)]
    target_model: String,
    /// Draft: a model, auto (all that needs none), ngram, recycling, table or none (plain decoding)
    #[arg(long, value_name = "MODEL", default_value = "auto")]
    draft_model: String,
    /// Short for --device cuda
    #[arg(long, conflicts_with = "device")]
    cuda: bool,
    #[command(flatten)]
    loading: LoadingArgs,
}

/// What to measure.
#[derive(clap::Args)]
#[command(mut_arg("max_new_tokens", |arg| arg.default_value("128")))]
struct Workload {
    /// A prompt; may be given several times [default: three short ones]
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// File of prompts: one a line, as text or as JSON with "prompt" or "turns", and perhaps a "category"
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Measured runs of each way and prompt
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Continue the prompts as they are, in place of answering them through the model's chat template
    #[arg(long)]
    raw: bool,
    /// Print JSON in place of the table
    #[arg(long)]
    json: bool,
    /// Write a page with tables and plots, too
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Runs `specdec bench`.
pub(super) fn run(args: &Args) -> Outcome {
    args.workload.run(&args.models)
}

impl Program {
    /// Runs `benchmark`.
    pub(super) fn run(&self) -> Outcome {
        let mut loading = self.loading.clone();
        if self.cuda {
            loading.device = Some(Device::Cuda(0));
        }
        self.workload.run(&ModelArgs {
            target: self.target_model.clone(),
            draft: Some(self.draft_model.clone()),
            no_profile: true,
            loading,
        })
    }
}

impl Workload {
    fn run(&self, models: &ModelArgs) -> Outcome {
        let profile = models.profile(self.sampling.prediction.as_deref())?;
        let config = self.sampling.config(profile.as_ref())?;
        let questions = prompts::of_options(&self.prompt, self.prompts.as_deref())?;
        let began = Instant::now();
        let decoder = models.load(profile.as_ref())?;
        let load_seconds = began.elapsed().as_secs_f64();
        let passes = PassTimes::measure(&decoder)?;
        let bar = terminal::counter("Measuring", questions.len());
        if !self.json {
            print(&bar, report::HEADER)?;
        }
        let mut results = Vec::with_capacity(questions.len());
        for question in questions {
            self.compare(&decoder, &question, &config, |result| {
                if !self.json {
                    print(&bar, &result.row())?;
                }
                results.push(result);
                Ok(())
            })?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        let report = Report::new(&decoder, results, passes, load_seconds);
        // What was measured isn't lost where the page can't be written.
        if self.json {
            write_json(&report)?;
        } else {
            print(&bar, &report.summary())?;
            print(&bar, &report.passes())?;
        }
        if let Some(path) = &self.report {
            files::write(path, html::page(&report)?, Access::Shared)?;
        }
        Ok(())
    }

    /// Asks a question turn by turn, each behind what was said before, as far as the context goes.
    fn compare(
        &self,
        decoder: &SpeculativeDecoder,
        question: &Question,
        config: &SpeculativeConfig,
        mut each: impl FnMut(TurnResult) -> Outcome,
    ) -> Outcome {
        let benchmark = Benchmark::new(decoder.clone());
        let runs = usize::from(self.runs);
        let mut messages = Vec::new();
        for turn in &question.turns {
            messages.push(Message::new("user", turn));
            let prompt = conversation(decoder, &messages, self.raw)?;
            let comparison = match benchmark.run_comparison(prompt, config, runs) {
                Err(error @ Error::ContextOverflow { .. }) if messages.len() > 1 => {
                    say(&format!("a turn is left out, and those behind it: {error}"));
                    break;
                }
                comparison => comparison?,
            };
            messages.push(Message::new("assistant", &comparison.text));
            each(TurnResult {
                prompt: turn.clone(),
                category: question.category.clone(),
                comparison,
            })?;
        }
        Ok(())
    }
}

/// Writes a line of the table, out of the progress bar's way.
fn print(bar: &ProgressBar, line: &str) -> io::Result<()> {
    bar.suspend(|| writeln!(io::stdout().lock(), "{line}"))
}
