//! `specdec distill`: makes a draft head out of the target's own answers, and keeps it if it is measurably faster.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;

use indicatif::ProgressBar;
use serde::Serialize;

use super::answer::write_json;
use super::error::Outcome;
use super::options::{LoadingArgs, ModelArgs, TARGET_HELP, prompt};
use super::tune::{Group, Place, Report, try_all};
use super::{profile, prompts, terminal};
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::device::Device;
use crate::distill::{self, MAX_EPOCHS, Observer, Settings};
use crate::error::{Error, Result};
use crate::files;
use crate::settings::SpeculativeConfig;
use crate::tune::Setting;

const EXAMPLES: &str = "\
Examples:
  specdec distill
  specdec distill --tokens 3000000 --prompts questions.jsonl
  specdec distill --target Qwen/Qwen3-0.6B --output head";

/// Prompts on which a head is evaluated where the user gives too few: nothing of them is learned.
const HELD_OUT: [&str; 12] = [
    "Explain how vaccines work to a twelve-year-old.",
    "Write a short story about a lighthouse keeper who finds a letter in a bottle.",
    "A train leaves at 9:40 and arrives at 13:05. How long does the journey take? Think step by step.",
    "What are the main differences between a crocodile and an alligator?",
    "Write a Python function that returns the longest word of a sentence.",
    "Give me a recipe for a simple vegetable soup, with the steps numbered.",
    "Summarize the causes of the First World War in five sentences.",
    "Write a polite email to a landlord about a broken heater.",
    "Which planets have rings, and what are the rings made of?",
    "List three advantages and three disadvantages of working from home.",
    "If a shirt costs 40 dollars and is reduced by 15 percent, what does it cost? Explain.",
    "Describe the way of a river from its spring to the sea.",
];

/// Of the user's prompts, one in so many is held out, up to a maximum; the head learns from answers to the others.
const HOLD_OUT_EVERY: usize = 4;
const MAX_HELD_OUT: usize = 32;

/// Train a small draft head for a target on its own answers, and keep it if it is faster
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[arg(short, long, value_name = "MODEL", default_value = crate::hub::DEFAULT_MODEL, help = TARGET_HELP)]
    target: String,
    /// Folder of the head and of what it is made from; run again with it to go on [default: one in the folder of profiles]
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Tokens that the target generates for the head to learn from: more make a better head
    #[arg(long, value_name = "N", default_value_t = Settings::default().tokens,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    tokens: usize,
    /// How often the head sees each token
    #[arg(long, value_name = "N", default_value_t = Settings::default().epochs,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=MAX_EPOCHS as u64))]
    epochs: usize,
    /// File of prompts like yours, one per line: the head learns from answers to them; every fourth is held out to evaluate it
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Seed of all that is random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print the result without saving or removing a profile
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    loading: LoadingArgs,
}

/// What --json prints.
#[derive(Serialize)]
struct Made<'a> {
    /// The head's folder.
    head: &'a PathBuf,
    training: &'a distill::Report,
    #[serde(flatten)]
    speed: &'a Report,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let LoadingArgs { corpus, table, .. } = &args.loading;
    for (name, file) in [("corpus", corpus), ("table", table)] {
        if let Some(file) = file {
            let expected = "none: a head is measured beside what is drafted by default";
            return Err(Error::invalid(name, file.display(), expected).into());
        }
    }
    let place = match args.dry_run {
        true => None,
        false => Some(Place::of(&args.identity())?),
    };
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => profile::head(&args.identity())?,
    };
    files::create_folder(&folder)?;
    let (questions, held_out) = args.questions_and_held_out()?;
    let settings = Settings {
        tokens: args.tokens,
        epochs: args.epochs,
        questions,
        device: match args.loading.device {
            Some(device) => device,
            None => Device::auto()?,
        },
        seed: args.seed,
    };
    let decoder = args.load(None)?;
    let held_out = held_out.iter().map(|text| prompt(&decoder, text, false));
    let held_out: Vec<Prompt> = held_out.collect::<Result<_>>()?;
    let bars = Bars::new(args);
    let made = distill::distill(&decoder, &folder, &settings, &held_out, &bars)?;
    bars.finish();
    drop(decoder);
    let folder = std::fs::canonicalize(&folder).unwrap_or(folder);
    let head = folder.display().to_string();
    let speed = args.measure(&head, &held_out, place.as_ref())?;
    // Before saving, so that a failed save does not lose the result.
    match args.json {
        true => write_json(&Made {
            head: &folder,
            training: &made,
            speed: &speed,
        })?,
        false => {
            let right = made
                .acceptance
                .iter()
                .map(|share| format!("{:.0}%", 100.0 * share));
            let right = right.collect::<Vec<_>>().join(", ");
            let tokens = made.tokens;
            writeln!(
                io::stdout().lock(),
                "head: {head}\n\
                 learned from {tokens} tokens in {} steps; of its first, second, ... drafted tokens are right\n\
                 (in answers that it did not learn from, after right ones): {right}\n\n{speed}",
                made.steps,
            )?;
        }
    }
    match &place {
        Some(place) => args.keep(place, &head, &speed),
        None => Ok(()),
    }
}

impl Args {
    /// What the target is asked, and what the head is evaluated on.
    fn questions_and_held_out(&self) -> Result<(Vec<String>, Vec<String>)> {
        let own = HELD_OUT.map(ToOwned::to_owned);
        let Some(file) = &self.prompts else {
            return Ok((Vec::new(), own.to_vec()));
        };
        let conversations = prompts::from_options(&[], Some(file))?;
        let first = conversations.into_iter();
        let first = first.map(|mut conversation| conversation.turns.swap_remove(0));
        let is_held_out = |index: usize| {
            index.is_multiple_of(HOLD_OUT_EVERY) && index < HOLD_OUT_EVERY * MAX_HELD_OUT
        };
        let (mut questions, mut held_out) = (Vec::new(), Vec::new());
        for (index, text) in first.enumerate() {
            match is_held_out(index) {
                true => held_out.push(text),
                false => questions.push(text),
            }
        }
        // Fewer tell too little.
        let missing = own.len().saturating_sub(held_out.len());
        held_out.extend(own.into_iter().take(missing));
        Ok((questions, held_out))
    }

    /// What the target's profile and its head are kept under.
    fn identity(&self) -> String {
        self.loading.identity(&self.target)
    }

    fn load(&self, draft: Option<&str>) -> Outcome<SpeculativeDecoder> {
        let models = ModelArgs::measured(&self.target, draft, self.loading.clone());
        models.load(None, &SpeculativeConfig::default())
    }

    /// Saves the profile of a head that is faster than what is drafted by default, unless there is one of something faster yet.
    fn keep(&self, place: &Place, head: &str, speed: &Report) -> Outcome {
        let existing = profile::Profile::load(&self.identity()).ok().flatten();
        let existing = existing.filter(|existing| existing.model.as_deref() != Some(head));
        if let (Some(existing), Some(best)) = (existing, &speed.best)
            && existing.speedup >= best.speedup
        {
            let stays = format!(
                "the profile stays, which was {:.2}x as fast as plain decoding when it was measured: {existing}",
                existing.speedup
            );
            terminal::note(&stays);
            return Ok(());
        }
        place.keep(speed, None)
    }

    /// Measures a head beside what is drafted without it.
    fn measure(&self, head: &str, prompts: &[Prompt], place: Option<&Place>) -> Outcome<Report> {
        let decoder = self.load(Some(head))?;
        let config = SpeculativeConfig {
            temperature: 0.0,
            max_new_tokens: 128,
            ..SpeculativeConfig::default()
        };
        let settings = [Setting::default()];
        let trials = try_all("Measuring", &decoder, &settings, prompts, &config)?;
        let group = Group {
            model: Some(head.to_owned()),
            table: None,
            trials,
        };
        let existing = profile::Profile::load(&self.identity());
        Ok(Report::new(&[group], &existing, place))
    }
}

/// A bar for what is generated, and then one for what is learned.
struct Bars {
    generating: ProgressBar,
    training: RefCell<Option<ProgressBar>>,
}

impl Bars {
    fn new(args: &Args) -> Self {
        Self {
            generating: terminal::counter("Generating answers", args.tokens),
            training: RefCell::default(),
        }
    }

    fn finish(&self) {
        self.generating.finish_and_clear();
        if let Some(bar) = self.training.take() {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Bars {
    fn generated(&self, tokens: usize) -> Result<()> {
        self.generating.set_position(tokens as u64);
        Ok(())
    }

    fn trained(&self, step: usize, of: usize, acceptance: Option<&[f64]>) -> Result<()> {
        self.generating.finish_and_clear();
        let mut bar = self.training.borrow_mut();
        let bar = bar.get_or_insert_with(|| terminal::counter("Training", of));
        bar.set_position(step as u64);
        if let Some([first, ..]) = acceptance {
            bar.set_message(format!("Training ({:.0}% right)", 100.0 * first));
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}
