//! `specdec completions` and `specdec man`: what shells and `man` read about the program, out of the definitions of its options.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Specdec;
use super::error::Outcome;
use crate::error::{Error, Result};
use crate::files::{self, Access};

const COMPLETIONS: &str = "\
Examples:
  specdec completions bash > ~/.local/share/bash-completion/completions/specdec
  specdec completions zsh > ~/.zfunc/_specdec
  specdec completions fish > ~/.config/fish/completions/specdec.fish

A new shell completes commands and options. zsh needs `fpath+=~/.zfunc` before
`compinit` in ~/.zshrc.";

const PAGES: &str = "\
Examples:
  specdec man | man -l -
  specdec man serve | man -l -
  specdec man --output ~/.local/share/man/man1";

/// Print a script that completes commands and options in a shell
#[derive(clap::Args)]
#[command(after_help = COMPLETIONS)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print a manual page
#[derive(clap::Args)]
#[command(after_help = PAGES)]
pub(super) struct ManArgs {
    /// A command of specdec [default: specdec itself]
    #[arg(conflicts_with = "output")]
    command: Option<String>,
    /// Write the pages of all commands to a folder
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Prints a completion script.
pub(super) fn completions(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Specdec::command(), "specdec", &mut script);
    Ok(io::stdout().lock().write_all(&script)?)
}

/// Prints or writes manual pages.
pub(super) fn man(args: &ManArgs) -> Outcome {
    let specdec = named(Specdec::command(), "specdec");
    if let Some(folder) = &args.output {
        return Ok(write_all(&specdec, folder)?);
    }
    let command = match &args.command {
        None => &specdec,
        Some(name) => specdec.find_subcommand(name).ok_or_else(|| {
            let names: Vec<&str> = specdec.get_subcommands().map(Command::get_name).collect();
            Error::invalid("command", name, names.join(", "))
        })?,
    };
    let page = page(command)?;
    Ok(io::stdout().lock().write_all(&page)?)
}

/// A command whose subcommands are named after it, as their pages are: `specdec-serve`.
fn named(command: Command, name: &str) -> Command {
    let mut command = command.display_name(name.to_owned());
    command.build();
    command.mut_subcommands(|inner| {
        let whole = format!("{name}-{}", inner.get_name());
        named(inner, &whole)
    })
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

/// Writes the pages of a command and of those within it, and says where.
fn write_all(command: &Command, folder: &Path) -> Result<()> {
    files::create_folder(folder)?;
    let name = command.get_display_name().unwrap_or("specdec");
    let file = folder.join(format!("{name}.1"));
    let page = page(command).map_err(|error| Error::io(&file, error))?;
    files::write(&file, page, Access::Shared)?;
    let printed = writeln!(io::stdout().lock(), "{}", file.display());
    printed.map_err(|error| Error::io("stdout", error))?;
    let shown = command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set());
    shown
        .filter(|inner| inner.get_name() != "help")
        .try_for_each(|inner| write_all(inner, folder))
}
