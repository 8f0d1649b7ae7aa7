//! The types of settings and statistics, as Python has them.

use std::collections::BTreeMap;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::convert::{field, from_json, to_json};
use crate::engine::SourceStats;
use crate::response_format::ResponseFormat;
use crate::settings::{DraftKind, Range, Verification};

const INTEGER: &str = "an integer >= 0";

/// A value that Python reads.
pub(super) trait ToPython {
    /// Its type in stubs.
    const TYPE: &'static str;

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>>;
}

/// A value that Python gives.
pub(super) trait FromPython: Sized {
    /// What may be given, in stubs.
    const ARGUMENT: &'static str;

    /// The value of the setting `name`; an error names it, and what is expected.
    fn from_python(name: &str, range: Range, value: &Bound<'_, PyAny>) -> PyResult<Self>;
}

macro_rules! plain_values {
    ($($type:ty: $stub:literal, $expected:expr;)*) => {
        $(
            impl ToPython for $type {
                const TYPE: &'static str = $stub;

                fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                    self.into_bound_py_any(py)
                }
            }

            impl FromPython for $type {
                const ARGUMENT: &'static str = $stub;

                fn from_python(name: &str, range: Range, value: &Bound<'_, PyAny>) -> PyResult<Self> {
                    let expected: fn(Range) -> String = $expected;
                    field(name, value, &expected(range))
                }
            }
        )*
    };
}

plain_values! {
    usize: "int", |_| INTEGER.into();
    f64: "float", |_| "a number".into();
    bool: "bool", |_| "True or False".into();
    Option<u64>: "int | None", |_| "None or an integer from 0 to 2**64 - 1".into();
    Option<usize>: "int | None", |range| match range {
        Range::UpTo(_) => format!("None or {range}"),
        _ => format!("None or {INTEGER}"),
    };
    Option<String>: "str | None", |_| "None or a string".into();
}

impl ToPython for Option<f64> {
    const TYPE: &'static str = "float | None";

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.into_bound_py_any(py)
    }
}

impl ToPython for Vec<usize> {
    const TYPE: &'static str = "list[int]";

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.into_bound_py_any(py)
    }
}

impl ToPython for BTreeMap<DraftKind, SourceStats> {
    const TYPE: &'static str = "dict[str, dict[str, int]]";

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let sources = PyDict::new(py);
        for (source, counts) in self {
            let entry = PyDict::new(py);
            entry.set_item("drafted", counts.drafted)?;
            entry.set_item("accepted", counts.accepted)?;
            sources.set_item(source.to_string(), entry)?;
        }
        Ok(sources.into_any())
    }
}

impl ToPython for Vec<(u32, f64)> {
    const TYPE: &'static str = "dict[int, float] | None";

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.is_empty() {
            return Ok(py.None().into_bound(py));
        }
        let biases = PyDict::new(py);
        for (token, bias) in self {
            biases.set_item(token, bias)?;
        }
        Ok(biases.into_any())
    }
}

impl FromPython for Vec<(u32, f64)> {
    const ARGUMENT: &'static str = "Mapping[int, float] | None";

    fn from_python(name: &str, _: Range, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let biases: Option<Bound<'_, PyDict>> = field(name, value, "None or {token id: number}")?;
        let biases = biases.into_iter().flatten();
        let bias = |(token, bias): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            let token = field(name, &token, "token ids from 0 to 4294967295")?;
            Ok((token, field(name, &bias, "a number")?))
        };
        let mut biases: Self = biases.map(bias).collect::<PyResult<_>>()?;
        biases.sort_by_key(|bias| bias.0);
        Ok(biases)
    }
}

impl ToPython for Vec<String> {
    const TYPE: &'static str = "tuple[str, ...]";

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyTuple::new(py, self)?.into_any())
    }
}

impl FromPython for Vec<String> {
    const ARGUMENT: &'static str = "str | _Sequence[str] | None";

    fn from_python(name: &str, _: Range, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            return Ok(vec![value.extract()?]);
        }
        let several: Option<Self> = field(name, value, "None, a string or a sequence of strings")?;
        Ok(several.unwrap_or_default())
    }
}

impl ToPython for Option<DraftKind> {
    const TYPE: &'static str = "_Draft | None";

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.map(|draft| draft.to_string()).into_bound_py_any(py)
    }
}

impl FromPython for Option<DraftKind> {
    const ARGUMENT: &'static str = Self::TYPE;

    fn from_python(name: &str, _: Range, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let draft: Option<String> = field(name, value, "None or a string")?;
        Ok(draft.map(|draft| draft.parse()).transpose()?)
    }
}

impl ToPython for Verification {
    const TYPE: &'static str = "_Verification";

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.to_string().into_bound_py_any(py)
    }
}

impl FromPython for Verification {
    const ARGUMENT: &'static str = Self::TYPE;

    fn from_python(name: &str, _: Range, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(field::<String>(name, value, "a string")?.parse()?)
    }
}

impl ToPython for Option<ResponseFormat> {
    const TYPE: &'static str = "dict[str, Any] | None";

    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let format = self.as_ref().map(|format| from_json(py, &format.to_json()));
        format.transpose()?.into_bound_py_any(py)
    }
}

impl FromPython for Option<ResponseFormat> {
    const ARGUMENT: &'static str = Self::TYPE;

    fn from_python(name: &str, _: Range, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if value.is_none() {
            return Ok(None);
        }
        let format: Bound<'_, PyDict> = field(name, value, "None or a dict")?;
        Ok(ResponseFormat::from_json(&to_json(name, &format)?)?)
    }
}
