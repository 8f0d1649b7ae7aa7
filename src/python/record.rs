//! Read-only classes over the library's results.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PyString, PyTuple};

use super::plain::Plain;

/// Defines a Python class over a Rust value: a property a field, `as_dict()`, `==`, `repr()`, and copies.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $name:ident($value:ident: $inner:ty) {
            $($(#[doc = $field_doc:literal])* $field:ident: $type:ty = $get:expr,)*
        }
    ) => {
        $(#[doc = $doc])*
        #[pyclass(module = "specdec_rs", frozen, eq)]
        #[derive(Clone, PartialEq)]
        pub struct $name(pub(super) $inner);

        impl $name {
            pub(super) const FIELDS: &[&str] = &[$(stringify!($field)),*];
        }

        #[pymethods]
        impl $name {
            $(
                $(#[doc = $field_doc])*
                #[getter]
                fn $field(&self) -> $type {
                    let $value = &self.0;
                    $get
                }
            )*

            /// All properties by name.
            fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
                $crate::python::record::as_dict(slf, Self::FIELDS.iter().copied())
            }

            fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
                $crate::python::record::repr(slf, Self::FIELDS)
            }

            fn __reduce__<'py>(
                slf: &Bound<'py, Self>,
            ) -> PyResult<$crate::python::record::Reduced<'py>> {
                $crate::python::record::reduce(slf, &slf.get().0)
            }

            #[classmethod]
            fn _restore(
                _class: &Bound<'_, pyo3::types::PyType>,
                plain: &Bound<'_, PyAny>,
            ) -> PyResult<Self> {
                $crate::python::plain::Plain::from_plain(plain).map(Self)
            }
        }
    };
}

pub(super) use record;

/// What `__reduce__` returns: a function and its arguments, which make the object again.
pub(super) type Reduced<'py> = (Bound<'py, PyAny>, (Bound<'py, PyAny>,));

/// For `copy` and `pickle`: the class's `_restore` with the value as plain data.
pub(super) fn reduce<'py>(
    object: &Bound<'py, PyAny>,
    value: &impl Plain,
) -> PyResult<Reduced<'py>> {
    let restore = object.get_type().getattr("_restore")?;
    Ok((restore, (value.to_plain(object.py())?,)))
}

/// An object's properties by name.
pub(super) fn as_dict<'py>(
    object: &Bound<'py, PyAny>,
    fields: impl IntoIterator<Item = &'static str>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(object.py());
    for field in fields {
        dict.set_item(field, object.getattr(field)?)?;
    }
    Ok(dict)
}

/// `Class(field=value, ...)`, for reading.
pub(super) fn repr(object: &Bound<'_, PyAny>, fields: &[&str]) -> PyResult<String> {
    let values = fields.iter().map(|field| {
        let value = shown(&object.getattr(*field)?)?;
        Ok(format!("{field}={value}"))
    });
    let values: Vec<String> = values.collect::<PyResult<_>>()?;
    Ok(format!(
        "{}({})",
        object.get_type().name()?,
        values.join(", ")
    ))
}

/// A value's `repr()`, with few digits and the start of a long text.
pub(super) fn shown(value: &Bound<'_, PyAny>) -> PyResult<String> {
    const MAX_CHARS: usize = 60;
    if let Ok(number) = value.cast::<PyFloat>() {
        let format = if number.value().abs() < 1000.0 {
            ".4g"
        } else {
            ".0f"
        };
        let format = PyString::new(value.py(), format);
        return number.call_method1("__format__", (format,))?.extract();
    }
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_string_lossy();
        if let Some((end, _)) = text.char_indices().nth(MAX_CHARS) {
            let start = PyString::new(value.py(), &text[..end]);
            return Ok(format!("{}...", start.repr()?));
        }
    }
    let (opening, closing) = match () {
        () if value.is_instance_of::<PyList>() => ('[', ']'),
        () if value.is_instance_of::<PyTuple>() => ('(', ')'),
        () => return Ok(value.repr()?.to_string()),
    };
    let entries: Vec<String> = value
        .try_iter()?
        .map(|entry| shown(&entry?))
        .collect::<PyResult<_>>()?;
    Ok(format!("{opening}{}{closing}", entries.join(", ")))
}
