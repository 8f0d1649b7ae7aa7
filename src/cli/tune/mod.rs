//! `specdec tune`: finds out whether other drafts than the default are faster for a target on this machine and these prompts.

mod report;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::TempPath;

use super::answer::write_json;
use super::error::Outcome;
use super::options::{LoadingArgs, ModelArgs, SamplingArgs, TARGET_HELP, prompt, with_default};
use super::profile::{self, Profile};
use super::{prompts, terminal};
use crate::decoder::Stream;
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::error::Error;
use crate::files::{self, Access};
use crate::settings::{DraftKind, SpeculativeConfig};
use crate::tune::{self, Setting, Trials};
pub(super) use report::{Group, Report};

const EXAMPLES: &str = "\
Examples:
  specdec tune
  specdec tune --prompts prompts.jsonl --learn
  specdec tune --target gpt2-medium --draft gpt2 --draft distilgpt2
  specdec tune --show
  specdec tune --reset";

/// Tokens that the target generates for its table if --learn gives no number.
const DEFAULT_LEARN: &str = "30000";

/// Measure drafts on your prompts and save a profile if one is clearly faster than auto
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, mut_arg("max_new_tokens", |arg| with_default(arg, "128")))]
pub(super) struct Args {
    #[arg(short, long, value_name = "MODEL", default_value = crate::hub::DEFAULT_MODEL, help = TARGET_HELP)]
    target: String,
    /// Show the target's profile and its file, and measure nothing
    #[arg(long, conflicts_with_all = ["reset", "draft", "prompt", "prompts", "learn", "dry_run"])]
    show: bool,
    /// Remove the target's profile, and measure nothing
    #[arg(long, conflicts_with_all = ["draft", "prompt", "prompts", "learn", "dry_run"])]
    reset: bool,
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
    /// Print the result without saving or removing a profile
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

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    if args.show {
        return args.show();
    }
    if args.reset {
        return args.reset();
    }
    // Before measuring, so that a folder that can't be written to fails at once.
    let place = match args.dry_run {
        true => None,
        false => Some(Place::of(&args.identity())?),
    };
    if let Some(source) = args
        .draft
        .iter()
        .find(|draft| draft.parse::<DraftKind>().is_ok())
    {
        let expected = "a model: the sources without one are tried anyway";
        return Err(Error::invalid("draft", source, expected).into());
    }
    if let Some(corpus) = &args.loading.corpus {
        let expected = "no corpus: a profile doesn't hold one, name it when you generate or serve";
        return Err(Error::invalid("corpus", corpus.display(), expected).into());
    }
    let config = args.sampling.config(None)?;
    let conversations = prompts::from_options(&args.prompt, args.prompts.as_deref())?;
    let learned = args.learn(&config)?;
    let mut groups = Vec::with_capacity(1 + args.draft.len());
    for model in std::iter::once(None).chain(args.draft.iter().map(Some)) {
        let table = learned.as_deref().or(args.loading.table.as_deref());
        let decoder = args.load(model, table, &config)?;
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
        let trials = try_all("Trying", &decoder, &settings, &prompts, &config)?;
        groups.push(Group {
            model: model.map(|model| profile::absolute(model)),
            table: args.table(learned.as_deref(), place.as_ref()),
            trials,
        });
    }
    let existing = Profile::load(&args.identity());
    let report = Report::new(&groups, &existing, place.as_ref());
    // Before saving, so that a failed save does not lose the result.
    match args.json {
        true => write_json(&report)?,
        false => writeln!(io::stdout().lock(), "{report}")?,
    }
    match &place {
        Some(place) => place.keep(&report, learned.as_deref()),
        None => Ok(()),
    }
}

/// Tries settings on prompts, with a progress bar.
pub(super) fn try_all(
    label: &'static str,
    decoder: &SpeculativeDecoder,
    settings: &[Setting],
    prompts: &[Prompt],
    config: &SpeculativeConfig,
) -> Result<Trials, Error> {
    let bar = terminal::counter(label, tune::requests(settings, prompts.len()));
    let trials = tune::trials(decoder, settings, prompts, config, |stream: Stream| {
        let generation = stream.run();
        bar.inc(1);
        generation
    })?;
    bar.finish_and_clear();
    Ok(trials)
}

/// Where a target's profile and its n-gram table are kept.
pub(super) struct Place {
    profile: PathBuf,
    table: PathBuf,
}

impl Place {
    pub(super) fn of(target: &str) -> Outcome<Self> {
        Ok(Self {
            profile: profile::file(target)?,
            table: profile::table(target)?,
        })
    }

    /// Saves the profile of a report, with the table that was `learned` for it; or removes one that is no longer justified.
    pub(super) fn keep(&self, report: &Report, learned: Option<&Path>) -> Outcome {
        if let Some(best) = &report.best {
            if let Some(learned) = learned.filter(|_| best.table.is_some()) {
                let content = std::fs::read(learned);
                let content = content.map_err(|error| Error::io(learned, error))?;
                files::write(&self.table, content, Access::Shared)?;
            }
            best.save(&self.profile)?;
        }
        if let Some(file) = &report.removed {
            files::remove(file);
            files::remove(&self.table);
        }
        Ok(())
    }
}

/// What --show prints.
#[derive(Serialize)]
struct Shown<'a> {
    target: &'a str,
    /// Where the profile is, or would be.
    file: Option<PathBuf>,
    profile: Option<Profile>,
}

/// What --reset prints.
#[derive(Serialize)]
struct Reset<'a> {
    target: &'a str,
    removed: Vec<PathBuf>,
}

impl Args {
    /// What the target's profile is kept under.
    fn identity(&self) -> String {
        self.loading.identity(&self.target)
    }

    fn show(&self) -> Outcome {
        let target = &self.identity();
        let shown = Shown {
            target,
            file: profile::path(target),
            profile: Profile::load(target)?,
        };
        if self.json {
            return write_json(&shown);
        }
        let text = match (&shown.profile, &shown.file) {
            (Some(profile), Some(file)) => format!(
                "profile of {target}: {profile}\nmeasured  {:.2}x plain decoding, when it was tuned\nfile      {}",
                profile.speedup,
                file.display()
            ),
            _ => format!("{target} has no profile"),
        };
        writeln!(io::stdout().lock(), "{text}")?;
        Ok(())
    }

    fn reset(&self) -> Outcome {
        let target = &self.identity();
        let removed = profile::remove(target)?;
        if self.json {
            return write_json(&Reset { target, removed });
        }
        let mut out = io::stdout().lock();
        if removed.is_empty() {
            writeln!(out, "{target} has no profile")?;
        }
        for file in removed {
            writeln!(out, "removed {}", file.display())?;
        }
        Ok(())
    }

    fn load(
        &self,
        model: Option<&String>,
        table: Option<&Path>,
        config: &SpeculativeConfig,
    ) -> Outcome<SpeculativeDecoder> {
        let mut loading = self.loading.clone();
        loading.table = table.map(Path::to_owned);
        let model = model.map(String::as_str);
        ModelArgs::measured(&self.target, model, loading).load(None, config)
    }

    /// Lets the target generate a table if the options ask for one; its file is deleted when the path is dropped.
    fn learn(&self, config: &SpeculativeConfig) -> Outcome<Option<TempPath>> {
        let Some(tokens) = self.learn else {
            return Ok(None);
        };
        let tokens = tokens as usize;
        let decoder = self.load(None, self.loading.table.as_deref(), config)?;
        let bar = terminal::counter("Learning", tokens);
        let seed = config.seed.unwrap_or(0);
        tune::learn(&decoder, tokens, seed, Stream::run, |learned| {
            bar.set_position(learned as u64);
        })?;
        bar.finish_and_clear();
        let file = tempfile::NamedTempFile::new();
        let file = file.map_err(|error| Error::io(std::env::temp_dir(), error))?;
        let table = file.into_temp_path();
        decoder.save_table(&table)?;
        Ok(Some(table))
    }

    /// The table that drafts came from, under the name that a profile gives it.
    fn table(&self, learned: Option<&Path>, place: Option<&Place>) -> Option<PathBuf> {
        let Some(learned) = learned else {
            let given = self.loading.table.as_ref()?;
            return Some(std::fs::canonicalize(given).unwrap_or_else(|_| given.clone()));
        };
        Some(place.map_or_else(|| learned.to_owned(), |place| place.table.clone()))
    }
}
