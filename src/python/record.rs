//! Read-only classes over the library's results.

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Defines a Python class over a Rust value: a property a field, `as_dict()`, `==` and `repr()`.
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
        }
    };
}

pub(super) use record;

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

/// `Class(field=value, ...)`.
pub(super) fn repr(object: &Bound<'_, PyAny>, fields: &[&str]) -> PyResult<String> {
    let values = fields.iter().map(|field| {
        let value = object.getattr(*field)?.repr()?;
        Ok(format!("{field}={value}"))
    });
    let values: Vec<String> = values.collect::<PyResult<_>>()?;
    Ok(format!(
        "{}({})",
        object.get_type().name()?,
        values.join(", ")
    ))
}
