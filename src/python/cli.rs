//! The command line, for Python's console scripts.

use std::ffi::OsString;

use pyo3::prelude::*;

use super::detached::detach;
use crate::cli;

/// Runs `specdec` with these arguments, the program's name first; returns its exit status.
#[pyfunction]
pub(super) fn run_cli(py: Python<'_>, argv: Vec<OsString>) -> PyResult<u8> {
    run(py, argv, cli::status)
}

/// Runs `benchmark` with these arguments, the program's name first; returns its exit status.
#[pyfunction]
pub(super) fn run_benchmark(py: Python<'_>, argv: Vec<OsString>) -> PyResult<u8> {
    run(py, argv, cli::benchmark_status)
}

fn run(py: Python<'_>, argv: Vec<OsString>, program: fn(Vec<OsString>) -> u8) -> PyResult<u8> {
    detach(py, || Ok(program(argv)))
}
