//! `specdec cache`: lists and removes packed weights, and the indexes of corpora.

use std::io::{self, Write};
use std::path::Path;

use clap::Subcommand;
use indicatif::BinaryBytes;
use serde::Serialize;

use super::answer::write_json;
use super::error::Outcome;
use super::terminal;
use crate::decoder::corpus::kept::{self, KeptCorpus};
use crate::error::{Error, Result};
use crate::hub::packed::{self, PackedWeights};

const EXAMPLES: &str = "\
Examples:
  specdec cache list
  specdec cache remove 3f9a1c2b
  specdec cache remove --all

A model's weights are packed for the CPU kernels when it is first loaded, and kept
in that form, so that later starts take a fraction of the time. What was not used for
the longest makes room for others. The index of a corpus (--corpus) is made when it is
first used. Models themselves are not removed here.

Environment:
  SPECDEC_PACKED_WEIGHTS_GIB  gibibytes that are kept at most [default: 64; 0: none]";

/// Digits of an identifier that are shown.
const SHOWN_DIGITS: usize = 8;

/// List or remove packed weights and the indexes of corpora
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List what is kept, the packed weights that were used last first
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON instead of the table
        #[arg(long)]
        json: bool,
    },
    /// Remove what is kept: it is made again when it is needed next
    #[command(visible_alias = "rm")]
    Remove {
        /// Identifiers, or their first digits, as `list` shows them
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<String>,
        /// Remove all
        #[arg(long)]
        all: bool,
    },
}

#[derive(Serialize)]
struct Listed<'a> {
    folder: std::path::PathBuf,
    max_bytes: u64,
    packed_weights: &'a [PackedWeights],
    corpora: &'a [KeptCorpus],
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let packed_weights = packed::list();
    let corpora = kept::list();
    let weights = packed_weights.iter().map(Kept::Weights);
    let all: Vec<Kept<'_>> = weights.chain(corpora.iter().map(Kept::Corpus)).collect();
    match &args.command {
        Command::List { json: true } => write_json(&Listed {
            folder: packed::folder(),
            max_bytes: packed::limit()?,
            packed_weights: &packed_weights,
            corpora: &corpora,
        }),
        Command::List { json: false } => Ok(print(&packed_weights, &corpora, packed::limit()?)?),
        Command::Remove { all: true, .. } => remove(all.into_iter()),
        Command::Remove { ids, .. } => {
            let chosen = ids.iter().map(|id| find(&all, id));
            remove(chosen.collect::<Result<Vec<_>>>()?.into_iter())
        }
    }
}

/// Something that is kept.
#[derive(Clone, Copy)]
enum Kept<'a> {
    Weights(&'a PackedWeights),
    Corpus(&'a KeptCorpus),
}

impl Kept<'_> {
    fn id(&self) -> &str {
        match self {
            Self::Weights(weights) => &weights.id,
            Self::Corpus(corpus) => &corpus.id,
        }
    }

    fn shown(&self) -> &str {
        self.id().get(..SHOWN_DIGITS).unwrap_or(self.id())
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Weights(weights) => weights.bytes,
            Self::Corpus(corpus) => corpus.bytes,
        }
    }

    /// The model, or the folder of texts.
    fn origin(&self) -> &Path {
        match self {
            Self::Weights(weights) => &weights.model,
            Self::Corpus(corpus) => &corpus.folder,
        }
    }

    /// Its start of a line: identifier, size and age.
    fn line(&self) -> String {
        let since = match self {
            Self::Weights(weights) => weights.last_used,
            Self::Corpus(corpus) => corpus.made,
        };
        let age = terminal::age(since);
        let size = BinaryBytes(self.bytes()).to_string();
        format!("{:<SHOWN_DIGITS$}  {size:>10}  {age:<14}", self.shown())
    }
}

fn print(weights: &[PackedWeights], corpora: &[KeptCorpus], limit: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let head = |time| format!("{:<SHOWN_DIGITS$}  {:>10}  {time:<14}", "ID", "SIZE");
    if !weights.is_empty() {
        writeln!(out, "{}  HELD AS  MODEL", head("USED"))?;
    }
    for one in weights {
        let (line, model) = (Kept::Weights(one).line(), one.model.display());
        writeln!(out, "{line}  {:<7}  {model}", one.precision)?;
    }
    let total = weights.iter().map(|weights| weights.bytes).sum();
    writeln!(
        out,
        "{} of at most {} in {}",
        BinaryBytes(total),
        BinaryBytes(limit),
        packed::folder().display()
    )?;
    if !corpora.is_empty() {
        writeln!(out, "\n{}  CORPUS", head("MADE"))?;
    }
    for one in corpora {
        writeln!(
            out,
            "{}  {}",
            Kept::Corpus(one).line(),
            one.folder.display()
        )?;
    }
    Ok(())
}

/// What is kept whose identifier begins with these digits.
fn find<'a>(kept: &[Kept<'a>], id: &str) -> Result<Kept<'a>> {
    let mut found = kept.iter().filter(|one| one.id().starts_with(id));
    match (found.next(), found.next()) {
        (Some(only), None) if !id.is_empty() => Ok(*only),
        _ => {
            let ids: Vec<&str> = kept.iter().map(Kept::shown).collect();
            let expected = match ids.is_empty() {
                true => "nothing: nothing is kept".to_owned(),
                false => format!("the identifier of one that is kept: {}", ids.join(", ")),
            };
            Err(Error::invalid("ID", id, expected))
        }
    }
}

fn remove<'a>(chosen: impl Iterator<Item = Kept<'a>>) -> Outcome {
    let mut in_use = Vec::new();
    for one in chosen {
        let is_removed = match one {
            Kept::Weights(weights) => packed::remove(weights)?,
            Kept::Corpus(corpus) => kept::remove(corpus).map(|()| true)?,
        };
        if !is_removed {
            in_use.push(one.shown().to_owned());
            continue;
        }
        writeln!(
            io::stdout().lock(),
            "removed {} of {}",
            BinaryBytes(one.bytes()),
            one.origin().display()
        )?;
    }
    match in_use.is_empty() {
        true => Ok(()),
        false => {
            let expected = "packed weights that no process writes now: try again once it is done";
            Err(Error::invalid("ID", in_use.join(", "), expected).into())
        }
    }
}
