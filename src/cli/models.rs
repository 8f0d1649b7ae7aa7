//! `specdec models`: lists and removes models that were downloaded.

use std::io::{self, Write};

use clap::Subcommand;
use indicatif::BinaryBytes;

use super::answer::write_json;
use super::error::Outcome;
use super::terminal;
use crate::error::{Error, Result};
use crate::hub::downloaded::{self, Downloaded};

const EXAMPLES: &str = "\
Examples:
  specdec models list
  specdec models rm Qwen/Qwen2.5-0.5B-Instruct

Repositories lie in the cache that all Hugging Face libraries share: what is removed
here is gone for them, too. `specdec pull` downloads a model.";

/// List or remove the models that were downloaded
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the models that are on this machine
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON instead of the table
        #[arg(long)]
        json: bool,
    },
    /// Remove models: they are downloaded again when they are needed next
    #[command(name = "rm", visible_alias = "remove")]
    Remove {
        /// Their names, as `list` shows them
        #[arg(required = true)]
        models: Vec<String>,
    },
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let all = downloaded::list();
    match &args.command {
        Command::List { json: true } => write_json(&all),
        Command::List { json: false } => Ok(print(&all)?),
        Command::Remove { models } => {
            let chosen = models.iter().map(|model| find(&all, model));
            for model in chosen.collect::<Result<Vec<_>>>()? {
                downloaded::remove(model)?;
                let size = BinaryBytes(model.bytes);
                writeln!(io::stdout().lock(), "removed {size} of {}", model.model)?;
            }
            Ok(())
        }
    }
}

fn print(all: &[Downloaded]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if all.is_empty() {
        return writeln!(
            out,
            "no model is on this machine: `specdec pull` downloads one"
        );
    }
    writeln!(out, "{:>10}  {:<14}  MODEL", "SIZE", "DOWNLOADED")?;
    for one in all {
        let age = terminal::age(one.written);
        let size = BinaryBytes(one.bytes).to_string();
        writeln!(out, "{size:>10}  {age:<14}  {}", one.model)?;
    }
    Ok(())
}

fn find<'a>(all: &'a [Downloaded], model: &str) -> Result<&'a Downloaded> {
    all.iter().find(|one| one.model == model).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| &*one.model).collect();
        let expected = match names.is_empty() {
            true => "nothing: no model is on this machine".to_owned(),
            false => format!("one of {}", names.join(", ")),
        };
        Error::invalid("MODEL", model, expected)
    })
}
