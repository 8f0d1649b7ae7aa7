//! The threads that compute: how many, and what a fork does to them.

use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// What Candle and its thread pool read, once, when they first compute.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// The process whose thread pool is running.
static STARTED_IN: OnceLock<u32> = OnceLock::new();

/// Number of threads that compute.
pub(super) fn count() -> usize {
    candle_core::utils::get_num_threads()
}

/// Sets the number of threads, which is possible until something was computed.
pub(super) fn set_count(py: Python<'_>, threads: usize) -> PyResult<()> {
    if STARTED_IN.get().is_some() {
        if threads != count() {
            tracing::warn!(
                "num_threads={threads} comes too late: this process computes with {} threads since its first model",
                count()
            );
        }
        return Ok(());
    }
    // Through Python, so that `os.environ` agrees.
    let environment = py.import("os")?.getattr("environ")?;
    for variable in VARIABLES {
        environment.set_item(variable, threads.to_string())?;
    }
    Ok(())
}

/// To be called before anything is computed. A forked process has none of its parent's threads, and
/// would wait for them forever.
pub(super) fn start() -> PyResult<()> {
    let process = std::process::id();
    if *STARTED_IN.get_or_init(|| process) == process {
        return Ok(());
    }
    Err(PyRuntimeError::new_err(
        "this process was forked after its parent had computed: fork before the first generation, \
         or use multiprocessing's \"spawn\"",
    ))
}
