//! Loading a decoder: what its constructor takes.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::detached::detach;
use super::requests::check_signals;
use crate::error::{Error, Result};
use crate::fork;
use crate::names::closest;
use crate::settings::SETTINGS;

/// How often a thread that waits for a model to load checks for Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs a long task on another thread, which Ctrl-C abandons.
pub(super) fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> PyResult<T> {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("specdec-load".into());
    let working = fork::work_elsewhere()?;
    thread.spawn(move || {
        let result = work();
        drop(working);
        // The send fails if the receiver was dropped by Ctrl-C.
        drop(sender.send(result));
    })?;
    detach(py, move || {
        loop {
            match receiver.recv_timeout(SIGNAL_INTERVAL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => check_signals()?,
                Err(RecvTimeoutError::Disconnected) => {
                    let lost = "the loading thread ended without a result";
                    return Err(Error::Compute(lost.into()));
                }
            }
        }
    })
}

/// Refuses keywords that the constructor does not have, with the one that was meant.
pub(super) fn refuse_unknown(
    class: &Bound<'_, PyType>,
    unknown: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let Some(unknown) = unknown else {
        return Ok(());
    };
    let Some(name) = unknown.keys().iter().next() else {
        return Ok(());
    };
    let name: String = name.extract()?;
    let inspect = class.py().import("inspect")?;
    let signature = inspect.call_method1("signature", (class,))?;
    let known: Vec<String> = signature
        .getattr("parameters")?
        .try_iter()?
        .map(|known| known?.extract())
        .collect::<PyResult<_>>()?;
    let meant = other_libraries(&name).or_else(|| closest(&name, known.iter().map(String::as_str)));
    let advice = match meant {
        Some(meant) => format!(": did you mean {meant}?"),
        None if SETTINGS.iter().any(|setting| setting.name == name) => {
            ": it is a setting of generate, chat and SpeculativeConfig".to_owned()
        }
        None => String::new(),
    };
    let message = format!("SpeculativeDecoder has no keyword {name:?}{advice}");
    Err(PyTypeError::new_err(message))
}

/// A keyword by what other libraries call it.
fn other_libraries(name: &str) -> Option<&'static str> {
    Some(match name {
        "model" | "model_path" | "model_id" => "target",
        "draft_model" | "assistant_model" | "speculative_model" => "draft",
        "n_ctx" | "max_model_len" | "num_ctx" => "context_length",
        "n_threads" | "threads" => "num_threads",
        "torch_dtype" => "dtype",
        "device_map" | "n_gpu_layers" => "device",
        "quantization" => "quantize",
        "chat_format" => "chat_template",
        "type_k" | "type_v" => "kv_cache_dtype",
        "adapter" | "adapters" | "lora_path" | "peft_model" => "lora",
        "verbose" => "progress",
        _ => return None,
    })
}
