//! The command line: bodies of the `specdec` and `benchmark` programs.
//!
//! stdout carries the result alone; logs, progress bars and statistics go to stderr. Exit status: 0; 1 an
//! error, told in one line on stderr; 2 a wrong use; 130 ended by Ctrl-C.

mod answer;
mod failure;
mod generate;
mod interrupt;
mod options;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Outcome;

const ENVIRONMENT: &str = "\
Environment:
  SPECDEC_DEVICE              cpu, cuda, cuda:INDEX or metal
  SPECDEC_NUM_THREADS         threads to compute with
  RUST_LOG                    log filter (warn), such as info or specdec_rs=debug
  SPECDEC_LOG_FORMAT          text or json
  HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE   as Hugging Face's own tools read them";

/// Lossless speculative decoding: the target model's exact output, sooner.
#[derive(Parser)]
#[command(name = "specdec", version, after_help = ENVIRONMENT, arg_required_else_help = true)]
struct Specdec {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Generate(generate::Args),
}

/// Runs `specdec` with these arguments, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(status(args))
}

/// [`run`] for a caller that hands on the exit status itself, as Python's console script does.
pub fn status(args: impl IntoIterator<Item = OsString>) -> u8 {
    execute::<Specdec>(args, |specdec| match &specdec.command {
        Command::Generate(args) => generate::run(args),
    })
}

/// Runs `benchmark` with these arguments, the program's name first.
pub fn run_benchmark(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let _ = args;
    ExitCode::SUCCESS
}

/// Parses the arguments, prepares the process, does the work and tells how it went.
fn execute<P: Parser>(
    args: impl IntoIterator<Item = OsString>,
    work: impl FnOnce(&P) -> Outcome,
) -> u8 {
    let parsed = match P::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version go to stdout with status 0, everything else to stderr with 2.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    interrupt::listen();
    let outcome = terminal::start_logging().map_err(Into::into);
    match outcome.and_then(|()| work(&parsed)) {
        Ok(()) => 0,
        Err(failure) => failure.report(),
    }
}
