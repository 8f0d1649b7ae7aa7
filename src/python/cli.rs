//! The command line, for Python's console scripts.

use std::ffi::OsString;
use std::process::ExitCode;

use pyo3::prelude::*;

use crate::cli;

/// Runs `specdec` with these arguments, the program's name first; returns its exit status.
#[pyfunction]
pub(super) fn run_cli(py: Python<'_>, argv: Vec<OsString>) -> u8 {
    py.detach(|| status(cli::run(argv)))
}

/// Runs `benchmark` with these arguments, the program's name first; returns its exit status.
#[pyfunction]
pub(super) fn run_benchmark(py: Python<'_>, argv: Vec<OsString>) -> u8 {
    py.detach(|| status(cli::run_benchmark(argv)))
}

/// `ExitCode` can be compared, but not read.
fn status(code: ExitCode) -> u8 {
    let mut statuses = 0..=u8::MAX;
    let found = statuses.find(|status| ExitCode::from(*status) == code);
    found.unwrap_or(1)
}
