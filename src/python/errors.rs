//! The exceptions, and the one table that maps errors to them.

use std::collections::HashMap;

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::error::Error;

const BASE: &str = "SpecdecError";

/// Every exception: its name, the built-in class that it also derives from, its documentation.
const EXCEPTIONS: [(&str, Option<&str>, &str); 10] = [
    (
        BASE,
        None,
        "The base of all exceptions that this package raises.",
    ),
    (
        "ModelNotFound",
        None,
        "A model that does not exist or cannot be reached.",
    ),
    (
        "UnsupportedModel",
        None,
        "A well-formed model of a kind that this package does not run.",
    ),
    (
        "CorruptModel",
        None,
        "A file whose contents contradict themselves or its format.",
    ),
    (
        "VocabularyMismatch",
        None,
        "A draft whose vocabulary has no token in common with the target's.",
    ),
    (
        "InvalidConfig",
        Some("ValueError"),
        "A setting out of its range.",
    ),
    (
        "ContextOverflow",
        None,
        "More tokens than the model's context holds.",
    ),
    (
        "DeviceUnavailable",
        None,
        "A device that this build or machine does not have.",
    ),
    (
        "OutOfMemory",
        Some("MemoryError"),
        "Not enough memory or disk space.",
    ),
    (
        "FileError",
        Some("OSError"),
        "A file that the operating system refused to read or write.",
    ),
];

/// The name of the exception that an error is raised as.
fn exception(error: &Error) -> &'static str {
    match error {
        Error::ModelNotFound { .. } => "ModelNotFound",
        Error::UnsupportedModel { .. } | Error::NoChatTemplate { .. } => "UnsupportedModel",
        Error::CorruptModel { .. } => "CorruptModel",
        Error::VocabularyMismatch { .. } => "VocabularyMismatch",
        Error::InvalidConfig { .. } => "InvalidConfig",
        Error::ContextOverflow { .. } => "ContextOverflow",
        Error::DeviceUnavailable { .. } => "DeviceUnavailable",
        Error::OutOfMemory { .. } => "OutOfMemory",
        Error::Io { .. } => "FileError",
        Error::NoToken { .. }
        | Error::Compute(_)
        | Error::Custom(_)
        | Error::CircularWait
        | Error::Forked => BASE,
    }
}

static CLASSES: PyOnceLock<HashMap<&str, Py<PyType>>> = PyOnceLock::new();

fn classes(py: Python<'_>) -> PyResult<&HashMap<&'static str, Py<PyType>>> {
    CLASSES.get_or_try_init(py, || {
        let mut classes: HashMap<&str, Py<PyType>> = HashMap::new();
        for (name, builtin, doc) in EXCEPTIONS {
            let mut bases = vec![match classes.get(BASE) {
                Some(base) => base.bind(py).clone(),
                None => py.get_type::<PyException>(),
            }];
            if let Some(builtin) = builtin {
                let class = py.import("builtins")?.getattr(builtin)?;
                bases.push(class.cast_into::<PyType>()?);
            }
            let members = PyDict::new(py);
            members.set_item("__doc__", doc)?;
            members.set_item("__module__", "specdec_rs")?;
            // The built-in `type` makes classes of several bases, which PyO3's own macros don't.
            let arguments = (name, PyTuple::new(py, bases)?, members);
            let class = py.get_type::<PyType>().call1(arguments)?;
            classes.insert(name, class.cast_into::<PyType>()?.unbind());
        }
        Ok(classes)
    })
}

/// Runs Python's signal handlers; an error if one of them raises, as Ctrl-C's does.
pub(super) fn check_signals(py: Python<'_>) -> PyResult<()> {
    // A handler that ran inside Python's logging, while a record was written, left its exception set.
    match PyErr::take(py) {
        Some(raised) => Err(raised),
        None => py.check_signals(),
    }
}

/// What a signal handler raised; it passes through the library and is raised unchanged.
#[derive(Debug)]
pub(super) struct Interruption(PyErr);

impl Interruption {
    pub(super) fn from(raised: PyErr) -> Error {
        Error::Custom(Box::new(Self(raised)))
    }
}

impl std::fmt::Display for Interruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Interruption {}

/// Adds the exceptions to the module.
pub(super) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    for (name, class) in classes(py)? {
        module.add(*name, class.bind(py))?;
    }
    Ok(())
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let (name, message) = (exception(&error), error.to_string());
        let cause = match error {
            Error::Custom(source) => match source.downcast::<Interruption>() {
                Ok(interruption) => return interruption.0,
                Err(source) => source.downcast::<PyErr>().ok(),
            },
            // The caller's program, not a model or a setting, is wrong.
            Error::CircularWait | Error::Forked => return PyRuntimeError::new_err(message),
            _ => None,
        };
        Python::attach(|py| {
            // KeyboardInterrupt, SystemExit and the like pass through unchanged.
            if let Some(cause) = &cause
                && !cause.is_instance_of::<PyException>(py)
            {
                return cause.clone_ref(py);
            }
            match classes(py) {
                Ok(classes) => {
                    let raised = PyErr::from_type(classes[name].bind(py).clone(), message);
                    raised.set_cause(py, cause.map(|cause| *cause));
                    raised
                }
                Err(error) => error,
            }
        })
    }
}
