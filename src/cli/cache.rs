//! `specdec cache`: lists and removes packed weights.

use std::io::{self, Write};
use std::time::SystemTime;

use clap::Subcommand;
use indicatif::{BinaryBytes, HumanDuration};
use serde::Serialize;

use super::answer::write_json;
use super::error::Outcome;
use crate::error::{Error, Result};
use crate::hub::packed::{self, PackedWeights};

const EXAMPLES: &str = "\
Examples:
  specdec cache list
  specdec cache remove 3f9a1c2b
  specdec cache remove --all

A model's weights are packed for the CPU kernels when it is first loaded, and kept
in that form, so that later starts take a fraction of the time. What was not used for
the longest makes room for others. Models themselves are not removed here.

Environment:
  SPECDEC_PACKED_WEIGHTS_GIB  gibibytes that are kept at most [default: 64; 0: none]";

/// Digits of an identifier that are shown.
const SHOWN_DIGITS: usize = 8;

/// List or remove the weights that are kept packed
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the packed weights that are kept, those that were used last first
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON instead of the table
        #[arg(long)]
        json: bool,
    },
    /// Remove packed weights: they are packed again when the model is loaded next
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
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let kept = packed::list();
    match &args.command {
        Command::List { json: true } => write_json(&Listed {
            folder: packed::folder(),
            max_bytes: packed::limit()?,
            packed_weights: &kept,
        }),
        Command::List { json: false } => Ok(print(&kept, packed::limit()?)?),
        Command::Remove { all: true, .. } => remove(kept.iter()),
        Command::Remove { ids, .. } => {
            let chosen = ids.iter().map(|id| find(&kept, id));
            remove(chosen.collect::<Result<Vec<_>>>()?.into_iter())
        }
    }
}

fn print(kept: &[PackedWeights], limit: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !kept.is_empty() {
        writeln!(
            out,
            "{:<SHOWN_DIGITS$}  {:>10}  {:<14}  HELD AS  MODEL",
            "ID", "SIZE", "USED"
        )?;
    }
    for weights in kept {
        let age = SystemTime::now().duration_since(weights.last_used);
        let age = format!("{} ago", HumanDuration(age.unwrap_or_default()));
        let size = BinaryBytes(weights.bytes).to_string();
        writeln!(
            out,
            "{:<SHOWN_DIGITS$}  {size:>10}  {age:<14}  {:<7}  {}",
            shown(weights),
            weights.precision,
            weights.model.display()
        )?;
    }
    let total = kept.iter().map(|weights| weights.bytes).sum();
    writeln!(
        out,
        "{} of at most {} in {}",
        BinaryBytes(total),
        BinaryBytes(limit),
        packed::folder().display()
    )
}

fn shown(weights: &PackedWeights) -> &str {
    weights.id.get(..SHOWN_DIGITS).unwrap_or(&weights.id)
}

/// The packed weights whose identifier begins with these digits.
fn find<'a>(kept: &'a [PackedWeights], id: &str) -> Result<&'a PackedWeights> {
    let mut found = kept.iter().filter(|weights| weights.id.starts_with(id));
    match (found.next(), found.next()) {
        (Some(only), None) if !id.is_empty() => Ok(only),
        _ => {
            let ids: Vec<&str> = kept.iter().map(shown).collect();
            let expected = match ids.is_empty() {
                true => "nothing: no packed weights are kept".to_owned(),
                false => format!("the identifier of one of them: {}", ids.join(", ")),
            };
            Err(Error::invalid("ID", id, expected))
        }
    }
}

fn remove<'a>(chosen: impl Iterator<Item = &'a PackedWeights>) -> Outcome {
    let mut in_use = Vec::new();
    for weights in chosen {
        if !packed::remove(weights)? {
            in_use.push(shown(weights));
            continue;
        }
        writeln!(
            io::stdout().lock(),
            "removed {} of {}",
            BinaryBytes(weights.bytes),
            weights.model.display()
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
