//! `progress=`: a bar on the terminal or in a notebook, or a function.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::progress::{Progress, Silent};
use crate::progress_bar::Bar;

/// How often a function is called at most, but for a task's first and last call. Each call takes the GIL.
const INTERVAL: Duration = Duration::from_millis(100);

/// The reporter that `progress=` asks for.
pub(super) fn reporter(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Arc<dyn Progress>> {
    let wanted = match progress {
        None => None,
        Some(progress) if progress.is_instance_of::<PyBool>() => Some(progress.is_truthy()?),
        Some(progress) if progress.is_callable() => {
            return Ok(Arc::new(Callback::new(progress.clone(), None)));
        }
        Some(progress) => {
            let class = progress.get_type();
            let message =
                format!("progress: expected None, True, False or a function, not {class}");
            return Err(PyTypeError::new_err(message));
        }
    };
    if wanted == Some(false) {
        return Ok(Arc::new(Silent));
    }
    let bar = py
        .import("specdec_rs._progress")?
        .call_method0("notebook_bar")?;
    if !bar.is_none() {
        let close = bar.getattr("close")?;
        return Ok(Arc::new(Callback::new(bar, Some(close.unbind()))));
    }
    Ok(match wanted.unwrap_or(std::io::stderr().is_terminal()) {
        true => Arc::new(Bar::default()),
        false => Arc::new(Silent),
    })
}

/// Calls a Python function with the label, the bytes done and the total (None if unknown).
struct Callback {
    function: Py<PyAny>,
    /// Called when a task has ended.
    close: Option<Py<PyAny>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    label: String,
    done: u64,
    total: Option<u64>,
    /// The last call.
    called: Option<Instant>,
    /// Whether bytes were done since then.
    changed: bool,
}

impl State {
    /// What to call the function with now, if it is time to.
    fn due(&mut self, at_once: bool) -> Option<(String, u64, Option<u64>)> {
        let recent = self
            .called
            .is_some_and(|called| called.elapsed() < INTERVAL);
        if !self.changed || recent && !at_once {
            return None;
        }
        self.changed = false;
        self.called = Some(Instant::now());
        Some((self.label.clone(), self.done, self.total))
    }
}

impl Callback {
    fn new(function: Bound<'_, PyAny>, close: Option<Py<PyAny>>) -> Self {
        Self {
            function: function.unbind(),
            close,
            state: Mutex::default(),
        }
    }

    fn notify(&self, at_once: bool, change: impl FnOnce(&mut State)) {
        let due = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut state);
            state.due(at_once)
        };
        if let Some(due) = due {
            Python::attach(|py| {
                self.report(py, self.function.call1(py, due));
            });
        }
    }

    /// A function that fails does not stop the task.
    fn report(&self, py: Python<'_>, result: PyResult<Py<PyAny>>) {
        if let Err(error) = result {
            error.write_unraisable(py, Some(self.function.bind(py)));
        }
    }
}

impl Progress for Callback {
    fn begin(&self, what: &str, total: Option<u64>) {
        self.notify(true, |state| {
            *state = State {
                label: what.into(),
                total,
                changed: true,
                ..State::default()
            };
        });
    }

    fn advance(&self, bytes: u64) {
        self.notify(false, |state| {
            state.done += bytes;
            state.changed = true;
        });
    }

    fn end(&self) {
        self.notify(true, |_| {});
        if let Some(close) = &self.close {
            Python::attach(|py| self.report(py, close.call0(py)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_few_and_the_last_state_is_told() {
        let mut state = State {
            changed: true,
            ..State::default()
        };
        assert!(state.due(true).is_some());
        for _ in 0..1000 {
            state.done += 1;
            state.changed = true;
        }
        state.called = Some(Instant::now());
        assert!(state.due(false).is_none());
        assert_eq!(state.due(true).unwrap().1, 1000);
        assert!(state.due(true).is_none());
    }
}
