//! The command line, for Python's console scripts.

use std::ffi::OsString;

use pyo3::prelude::*;

use crate::cli;

/// Runs `specdec` with these arguments, the program's name first; returns its exit status.
#[pyfunction]
pub(super) fn run_cli(py: Python<'_>, argv: Vec<OsString>) -> u8 {
    run(py, argv, cli::status)
}

/// Runs `benchmark` with these arguments, the program's name first; returns its exit status.
#[pyfunction]
pub(super) fn run_benchmark(py: Python<'_>, argv: Vec<OsString>) -> u8 {
    run(py, argv, cli::benchmark_status)
}

fn run(py: Python<'_>, argv: Vec<OsString>, program: fn(Vec<OsString>) -> u8) -> u8 {
    py.detach(|| program(argv))
}
