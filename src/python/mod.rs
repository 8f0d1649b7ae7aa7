//! The Python module `specdec_rs._core`: conversions and docstrings, one file per class. Its stubs are in
//! python/specdec_rs/_core.pyi.

// Docstrings are plain text for `help()`; PyO3 passes converted arguments by value.
#![allow(
    clippy::doc_link_with_quotes,
    clippy::doc_markdown,
    clippy::needless_pass_by_value
)]

mod audit;
mod benchmark;
mod cli;
mod config;
mod convert;
mod decoder;
mod detached;
mod errors;
#[cfg(test)]
mod generated;
mod generation;
mod html;
mod input;
mod language_model;
mod loading;
mod plain;
mod progress;
mod record;
mod requests;
mod sequence;
mod stream;
mod threads;
mod tokenizer;
mod value;

use std::path::PathBuf;

use log::LevelFilter;
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger};

use crate::hub::ask_python_first_for_pip;

/// The compiled part of specdec_rs.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Levels are not cached, because Python programs change them at any time. On a second import the
    // logger of the first is already installed.
    let _ = Logger::new(module.py(), Caching::Loggers)?
        .filter(LevelFilter::Warn)
        .filter_target(env!("CARGO_CRATE_NAME").into(), LevelFilter::Debug)
        .install();
    // numpy's C API is loaded with the first array, which must not happen while a signal is pending.
    module.py().import("numpy")?;
    drop(numpy::PyArray1::<f32>::from_vec(module.py(), Vec::new()));
    if let Some(python) = interpreter(module.py())? {
        ask_python_first_for_pip(python);
    }
    errors::add_to(module)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<decoder::SpeculativeDecoder>()?;
    module.add_class::<config::SpeculativeConfig>()?;
    module.add_class::<generation::Generation>()?;
    module.add_class::<generation::Stats>()?;
    module.add_class::<generation::Chunk>()?;
    module.add_class::<generation::Token>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<stream::AsyncStream>()?;
    module.add_class::<sequence::Sequence>()?;
    module.add_class::<tokenizer::Tokenizer>()?;
    module.add_class::<audit::Audit>()?;
    module.add_class::<audit::AuditReport>()?;
    module.add_class::<audit::SourceReport>()?;
    module.add_class::<audit::Identity>()?;
    module.add_class::<audit::Divergence>()?;
    module.add_class::<audit::DistributionTest>()?;
    module.add_class::<audit::BatchInvariance>()?;
    module.add_class::<benchmark::Benchmark>()?;
    module.add_class::<benchmark::Comparison>()?;
    module.add_class::<benchmark::Measurement>()?;
    module.add_function(wrap_pyfunction!(cli::run_cli, module)?)?;
    module.add_function(wrap_pyfunction!(cli::run_benchmark, module)?)?;
    let finish = wrap_pyfunction!(threads::_finish, module)?;
    module
        .py()
        .import("atexit")?
        .call_method1("register", (finish,))?;
    Ok(())
}

/// The program of the Python that imports this; `None` in one that is part of another program.
fn interpreter(py: Python<'_>) -> PyResult<Option<PathBuf>> {
    let sys = py.import("sys")?;
    // Set by PyInstaller and its like: the program is then the application itself.
    if sys.hasattr("frozen")? {
        return Ok(None);
    }
    let path: Option<PathBuf> = sys.getattr("executable")?.extract()?;
    Ok(path.filter(|path| !path.as_os_str().is_empty()))
}
