//! Conversions of Python arguments to the library's types.

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PySequence, PyString, PyTuple};

use super::record;
use crate::error::Error;

/// Converts the value of a field; an error names the field.
pub(super) fn field<'a, 'py, T>(
    name: &str,
    value: &'a Bound<'py, PyAny>,
    expected: &str,
) -> PyResult<T>
where
    T: FromPyObject<'a, 'py>,
{
    value.extract::<T>().map_err(|error| {
        let (py, error) = (value.py(), error.into());
        if error.is_instance_of::<PyOverflowError>(py) {
            return Error::invalid(name, value, expected).into();
        }
        if error.is_instance_of::<PyTypeError>(py) {
            let found = match record::shown(value) {
                Ok(found) => found,
                Err(error) => return error,
            };
            return PyTypeError::new_err(format!("{name}: expected {expected}, not {found}"));
        }
        error
    })
}

/// An optional size of at least 1.
pub(super) fn positive(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<usize>> {
    const EXPECTED: &str = "an integer >= 1";
    let Some(value) = value else { return Ok(None) };
    let size = field(name, value, EXPECTED)?;
    if size == 0 {
        return Err(Error::invalid(name, size, EXPECTED).into());
    }
    Ok(Some(size))
}

/// An optional text.
pub(super) fn text(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<String>> {
    value
        .map(|value| field(name, value, "a string"))
        .transpose()
}

/// An optional path, or model's name.
pub(super) fn path<'a, 'py, T>(
    name: &str,
    value: Option<&'a Bound<'py, PyAny>>,
) -> PyResult<Option<T>>
where
    T: FromPyObject<'a, 'py>,
{
    value
        .map(|value| field(name, value, "a string or a path"))
        .transpose()
}

/// A model's name: a string or a path.
pub(super) struct ModelName(pub(super) String);

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0
    }
}

impl FromPyObject<'_, '_> for ModelName {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let name = object
            .py()
            .import("os")?
            .call_method1("fspath", (object,))?;
        Ok(Self(name.extract()?))
    }
}

/// One model's name, or several.
pub(super) struct ModelNames(pub(super) Vec<ModelName>);

impl FromPyObject<'_, '_> for ModelNames {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let several = object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>();
        match several {
            false => Ok(Self(vec![object.extract()?])),
            true => Ok(Self(object.extract()?)),
        }
    }
}

/// Token ids: integers in a list or another sequence, a numpy array or a torch tensor.
pub(super) struct TokenIds(pub(super) Vec<u32>);

impl FromPyObject<'_, '_> for TokenIds {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        Self::of(&object, "a sequence of token ids")
    }
}

impl TokenIds {
    /// The ids, where something else may be given, too: `expected` names it all.
    pub(super) fn of(object: &Bound<'_, PyAny>, expected: &str) -> PyResult<Self> {
        let refused = || match object.get_type().name() {
            Ok(class) => PyTypeError::new_err(format!("expected {expected}, not {class}")),
            Err(error) => error,
        };
        let is_text = object.is_instance_of::<PyString>()
            || object.is_instance_of::<PyBytes>()
            || object.is_instance_of::<PyByteArray>();
        if is_text {
            return Err(refused());
        }
        let list = match object.getattr_opt("tolist")? {
            Some(tolist) => tolist.call0()?,
            None => object.clone(),
        };
        let ids = list
            .cast::<PySequence>()
            .map_err(|_| refused())?
            .try_iter()?;
        let id = |id: Bound<'_, PyAny>| field("token id", &id, "an integer from 0 to 4294967295");
        Ok(Self(ids.map(|entry| id(entry?)).collect::<PyResult<_>>()?))
    }
}

/// The value of a field as JSON, by Python's `json` module.
pub(super) fn to_json(name: &str, value: &Bound<'_, PyAny>) -> PyResult<serde_json::Value> {
    let refused = |reason: String| {
        let message = format!("{name} must be what json.dumps() can write: {reason}");
        PyTypeError::new_err(message)
    };
    let py = value.py();
    let written = py.import("json")?.call_method1("dumps", (value,));
    let text = written.and_then(|text| text.extract::<String>());
    let text = text.map_err(|error| refused(error.value(py).to_string()))?;
    // Python also writes NaN and Infinity, which are not JSON.
    serde_json::from_str(&text).map_err(|error| refused(error.to_string()))
}

/// JSON as Python's `json` module reads it.
pub(super) fn from_json<'py>(
    py: Python<'py>,
    value: &serde_json::Value,
) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?
        .call_method1("loads", (value.to_string(),))
}
