//! `specdec pull`: downloads a model.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::answer::write_json;
use super::error::Outcome;
use super::options::HubArgs;
use crate::hub::{ALIASES, ModelFiles};

const EXAMPLES: &str = "\
Examples:
  specdec pull
  specdec pull Qwen/Qwen2.5-0.5B-Instruct --json";

/// The examples, and the models that have short names.
fn after_help() -> String {
    let aliases = ALIASES.iter().map(|alias| {
        let (name, is) = (alias.name, alias.description);
        format!("\n  {name:<14} {is}")
    });
    format!("{EXAMPLES}\n\nAliases:{}", aliases.collect::<String>())
}

/// Download a model into the cache and print its path
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub(super) struct Args {
    #[command(flatten)]
    model: HubArgs,
    /// Print JSON instead of the path: model, format, path
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Pulled<'a> {
    model: &'a str,
    /// "gguf" (a file), "folder" (in Hugging Face's layout) or "adapter" (a folder; its base model is pulled, too).
    format: &'static str,
    path: &'a Path,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Outcome {
    let files = args.model.locate()?;
    let (format, path) = match &files {
        ModelFiles::Gguf(path) => ("gguf", path),
        ModelFiles::Folder(path) => ("folder", path),
        ModelFiles::Adapted(files) => ("adapter", &files.adapters[0]),
    };
    if args.json {
        return write_json(&Pulled {
            model: &args.model.model,
            format,
            path,
        });
    }
    writeln!(io::stdout().lock(), "{}", path.display())?;
    Ok(())
}
