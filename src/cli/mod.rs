//! The command line: bodies of the `specdec` and `benchmark` programs.
//!
//! stdout carries the result alone; logs, progress bars and statistics go to stderr. Exit status: 0 success;
//! 1 an error, printed in one line on stderr; 2 a usage error; 130 interrupted by Ctrl-C.

// Doc comments of arguments are help texts, which would show the backticks.
#![allow(clippy::doc_markdown)]

mod answer;
mod bench;
#[cfg(unix)]
mod bus_error;
mod cache;
mod chat;
mod distill;
mod doctor;
mod error;
mod flags;
mod generate;
mod inspect;
mod interrupt;
mod log;
mod models;
mod options;
mod painter;
mod profile;
mod prompts;
mod pull;
mod quiet;
mod serve;
mod shell;
mod terminal;
mod tune;
mod verify;
mod wrap;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Result;
use error::{CliError, Outcome};
use log::{Form, LogArgs};

const HELP: &str = "\
Example:
  specdec generate \"Give three tips for better sleep.\"

Environment:
  SPECDEC_DEVICE        cpu, cuda, cuda:INDEX or metal
  SPECDEC_NUM_THREADS   number of threads that compute
  SPECDEC_LOG_FORMAT    text or json
  SPECDEC_PROFILES      folder of the profiles that `specdec tune` saves
  SPECDEC_PACKED_WEIGHTS_GIB
                        gibibytes of packed weights that are kept (specdec cache)
  RUST_LOG              log filter [default: warn], such as specdec_rs=debug
  HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE
                        as in Hugging Face's own tools";

/// Lossless speculative decoding: the target model's exact output, faster
#[derive(Parser)]
#[command(name = "specdec", version, after_help = HELP)]
struct Specdec {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Subcommand)]
enum Command {
    Generate(generate::Args),
    Chat(chat::Args),
    Bench(bench::Args),
    Verify(verify::Args),
    Tune(tune::Args),
    Distill(distill::Args),
    Serve(serve::Args),
    Pull(pull::Args),
    Inspect(inspect::Args),
    Models(models::Args),
    Cache(cache::Args),
    Doctor(doctor::Args),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

/// Runs `specdec` with these arguments, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    prepare_process();
    ExitCode::from(status(args))
}

/// Runs `specdec` inside another program, such as Python, and returns the exit status.
pub fn status(args: impl IntoIterator<Item = OsString>) -> u8 {
    let log = |specdec: &Specdec| {
        let form = match &specdec.command {
            Command::Serve(_) => Form::Records,
            _ => Form::Sentences,
        };
        specdec.log.start(form)
    };
    execute(args, log, |specdec: &Specdec, line| {
        match &specdec.command {
            Command::Generate(args) => generate::run(args),
            Command::Chat(args) => chat::run(args),
            Command::Bench(args) => bench::run(args, line),
            Command::Verify(args) => verify::run(args),
            Command::Tune(args) => tune::run(args),
            Command::Distill(args) => distill::run(args),
            Command::Serve(args) => serve::run(args),
            Command::Pull(args) => pull::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Models(args) => models::run(args),
            Command::Cache(args) => cache::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Completions(args) => shell::completions(args),
            Command::Man(args) => shell::man(args),
        }
    })
}

/// Runs `benchmark` with these arguments, the program's name first.
pub fn run_benchmark(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    prepare_process();
    ExitCode::from(benchmark_status(args))
}

/// What only a program of our own may change about its process.
fn prepare_process() {
    #[cfg(unix)]
    bus_error::explain();
}

/// Runs `benchmark` inside another program, such as Python, and returns the exit status.
pub fn benchmark_status(args: impl IntoIterator<Item = OsString>) -> u8 {
    execute(args, bench::Program::start_logging, bench::Program::run)
}

/// Parses the arguments, prepares the process, does the work (with the parsed arguments, and as they were given) and reports
/// its errors; returns the exit status.
fn execute<P: Parser + Send + 'static>(
    args: impl IntoIterator<Item = OsString>,
    start_logging: impl FnOnce(&P) -> Result<()> + Send + 'static,
    work: impl FnOnce(&P, &[OsString]) -> Outcome + Send + 'static,
) -> u8 {
    let line: Vec<OsString> = args.into_iter().collect();
    let parsed = match P::try_parse_from(&line) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version go to stdout with status 0.
            if !error.use_stderr() {
                let _ = error.print();
                return 0;
            }
            error::print_usage_error(&error);
            return 2;
        }
    };
    let status = interrupt::run(move || {
        let prepared =
            start_logging(&parsed).and_then(|()| crate::threads::from_environment().map(drop));
        let outcome = prepared
            .map_err(CliError::from)
            .and_then(|()| work(&parsed, &line));
        outcome.map_or_else(CliError::report, |()| 0)
    });
    quiet::end();
    status.unwrap_or_else(|| CliError::Interrupted.report())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Splits a command line as a shell would, as far as the examples need: blanks, double quotes, pipes, an output file.
    fn words(line: &str) -> Vec<String> {
        let line = line.split(" > ").next().unwrap_or_default();
        let mut commands = line.split('|').map(str::trim);
        let command = commands.find(|command| command.starts_with("specdec "));
        let command = command.unwrap_or_default();
        let mut words = Vec::new();
        for (index, part) in command.split('"').enumerate() {
            if index % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    fn examples(command: &clap::Command) -> Vec<Vec<String>> {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let commands = help
            .lines()
            .filter(|line| line.starts_with("  ") && line.contains("specdec "));
        commands.map(words).collect()
    }

    #[test]
    fn the_definitions_are_consistent() {
        Specdec::command().debug_assert();
        bench::Program::command().debug_assert();
    }

    #[test]
    fn every_commands_examples_parse() {
        let specdec = Specdec::command();
        for command in specdec.get_subcommands() {
            let examples = examples(command);
            assert!(
                !examples.is_empty(),
                "{} has no example",
                command.get_name()
            );
            for example in examples {
                assert_eq!(example[..2], ["specdec", command.get_name()]);
                let parsed = Specdec::try_parse_from(&example);
                assert!(parsed.is_ok(), "{example:?}: {:?}", parsed.err());
            }
        }
    }
}
