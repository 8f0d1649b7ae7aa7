//! `progress=`: a bar on the terminal, or a function.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::progress::{Progress, Silent};
use crate::progress_bar::Bar;

/// The reporter that `progress=` asks for.
pub(super) fn reporter(progress: Option<&Bound<'_, PyAny>>) -> PyResult<Arc<dyn Progress>> {
    let shown = match progress {
        None => std::io::stderr().is_terminal(),
        Some(progress) if progress.is_instance_of::<PyBool>() => progress.is_truthy()?,
        Some(progress) if progress.is_callable() => {
            return Ok(Arc::new(Callback {
                function: progress.clone().unbind(),
                state: Mutex::default(),
            }));
        }
        Some(progress) => {
            let class = progress.get_type();
            let message =
                format!("progress: expected None, True, False or a function, not {class}");
            return Err(PyTypeError::new_err(message));
        }
    };
    Ok(if shown {
        Arc::new(Bar::default())
    } else {
        Arc::new(Silent)
    })
}

/// Calls a Python function with the label, the bytes done and the total (None if unknown).
struct Callback {
    function: Py<PyAny>,
    state: Mutex<(String, u64, Option<u64>)>,
}

impl Callback {
    fn notify(&self, change: impl FnOnce(&mut (String, u64, Option<u64>))) {
        let state = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut state);
            state.clone()
        };
        Python::attach(|py| {
            if let Err(error) = self.function.call1(py, state) {
                error.write_unraisable(py, Some(self.function.bind(py)));
            }
        });
    }
}

impl Progress for Callback {
    fn begin(&self, what: &str, total: Option<u64>) {
        self.notify(|state| *state = (what.into(), 0, total));
    }

    fn advance(&self, bytes: u64) {
        self.notify(|state| state.1 += bytes);
    }
}
