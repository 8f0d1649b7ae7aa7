//! `specdec tune`: finds the fastest draft settings for a target on this machine and these prompts.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::answer::write_json;
use super::error::Outcome;
use super::options::{LoadingArgs, ModelArgs, SamplingArgs, TARGET_HELP, prompt};
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
  specdec tune --prompts prompts.jsonl --learn
  specdec tune --target gpt2-medium --draft gpt2 --draft distilgpt2";

/// Tokens that the target generates for its table if --learn gives no number.
const DEFAULT_LEARN: &str = "30000";

/// Find the fastest draft for a target on your prompts and save it as its profile
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, mut_arg("max_new_tokens", |arg| arg.default_value("64")))]
pub(super) struct Args {
    #[arg(short, long, value_name = "MODEL", default_value = crate::hub::DEFAULT_MODEL, help = TARGET_HELP)]
    target: String,
    /// A draft model to try, besides the sources without a model; can be repeated
    #[arg(short, long, value_name = "MODEL")]
    draft: Vec<String>,
    /// A prompt; can be repeated [default: three short prompts]
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// File of prompts, one per line: text, or JSON with "prompt" or "turns"
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Continue the prompts as they are, without the model's chat template
    #[arg(long)]
    raw: bool,
    /// First let the target generate this many tokens, and also draft from an n-gram table of them [default without a number: 30000]
    #[arg(long, value_name = "TOKENS", num_args = 0..=1, default_missing_value = DEFAULT_LEARN,
        value_parser = clap::value_parser!(u32).range(1..))]
    learn: Option<u32>,
    /// Print the result without saving a profile
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of the table
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
    /// The fastest setting; plain decoding if nothing is faster.
    best: Profile,
    /// Where the profile was saved.
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
    let config = args.sampling.config(None, &SpeculativeConfig::default())?;
    let conversations = prompts::from_options(&args.prompt, args.prompts.as_deref())?;
    let generated = args.learn(config.seed.unwrap_or(0))?;
    let table = generated.as_ref().map(GeneratedTable::path);
    let table = table.or(args.loading.table.as_deref());
    let mut trials: Vec<ModelTrial> = Vec::new();
    let models = std::iter::once(None).chain(args.draft.iter().map(Some));
    for model in models {
        let decoder = args.load(model, table)?;
        let first = conversations
            .iter()
            .map(|conversation| &conversation.turns[0]);
        let prompts = first.map(|text| prompt(&decoder, text, args.raw));
        let prompts: Vec<Prompt> = prompts.collect::<Result<_, Error>>()?;
        let mut settings = tune::settings(&decoder, args.sampling.gamma);
        if model.is_some() {
            // The sources without a model were tried before.
            settings.retain(|setting| [DraftKind::MODEL, DraftKind::AUTO].contains(&setting.draft));
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
    // Before saving, so that a failed save does not lose the result.
    match args.json {
        true => write_json(&report)?,
        false => writeln!(io::stdout().lock(), "{}", report.table())?,
    }
    if let Some(path) = &report.profile {
        report.best.save(path)?;
    }
    Ok(())
}

/// The n-gram table of texts that the target generated.
enum GeneratedTable {
    Saved(PathBuf),
    /// Deleted when dropped.
    Temporary(tempfile::TempPath),
}

impl GeneratedTable {
    fn path(&self) -> &Path {
        match self {
            Self::Saved(path) => path,
            Self::Temporary(path) => path,
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

    /// Lets the target generate a table if the options ask for one.
    fn learn(&self, seed: u64) -> Outcome<Option<GeneratedTable>> {
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
        let table = match self.dry_run {
            true => {
                let file = tempfile::NamedTempFile::new();
                let temporary = |error| Error::io(std::env::temp_dir(), error);
                GeneratedTable::Temporary(file.map_err(temporary)?.into_temp_path())
            }
            false => GeneratedTable::Saved(profile::table(&self.target)?),
        };
        decoder.save_table(table.path())?;
        Ok(Some(table))
    }
}

/// The fastest trial as a profile.
fn best(trials: &[ModelTrial], table: Option<&Path>) -> Profile {
    let best = tune::fastest(trials.iter().map(|trial| &trial.trial));
    let best = trials
        .iter()
        .find(|trial| best.is_some_and(|best| std::ptr::eq(best, &raw const trial.trial)));
    let Some(ModelTrial { model, trial }) = best else {
        return Profile {
            model: None,
            draft: DraftKind::NONE,
            gamma: SpeculativeConfig::default().gamma,
            table: None,
            speedup: 1.0,
        };
    };
    let Setting { draft, gamma } = trial.setting;
    let reads_table = [DraftKind::AUTO, DraftKind::TABLE].contains(&draft);
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
            lines.push(format!("profile: {}", path.display()));
        }
        lines.join("\n")
    }
}
