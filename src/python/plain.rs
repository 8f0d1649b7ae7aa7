//! Results as plain Python data, for `pickle` and `copy`: numbers, texts, None, lists, tuples, and dicts of fields.

use std::collections::BTreeMap;
use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::engine::{Chunk, FinishReason, Generation, SourceStats, Token};
use crate::evaluation::Totals;
use crate::evaluation::audit::{
    AuditReport, BatchInvariance, DistributionTest, Divergence, Identity, SourceReport, Uniformity,
    Verdict,
};
use crate::evaluation::benchmark::{Comparison, Measurement};
use crate::settings::{DraftKind, Verification};

/// A value that plain data keeps without loss.
pub(super) trait Plain: Sized {
    fn to_plain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>>;

    fn from_plain(plain: &Bound<'_, PyAny>) -> PyResult<Self>;
}

macro_rules! as_they_are {
    ($($type:ty),*) => {
        $(
            impl Plain for $type {
                fn to_plain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                    self.into_bound_py_any(py)
                }

                fn from_plain(plain: &Bound<'_, PyAny>) -> PyResult<Self> {
                    plain.extract()
                }
            }
        )*
    };
}

as_they_are!(bool, u32, u64, usize, f32, f64, String, [f64; 2]);

impl<T: Plain> Plain for Option<T> {
    fn to_plain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Some(value) => value.to_plain(py),
            None => Ok(py.None().into_bound(py)),
        }
    }

    fn from_plain(plain: &Bound<'_, PyAny>) -> PyResult<Self> {
        match plain.is_none() {
            true => Ok(None),
            false => T::from_plain(plain).map(Some),
        }
    }
}

impl<T: Plain> Plain for Vec<T> {
    fn to_plain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let values: Vec<_> = self
            .iter()
            .map(|value| value.to_plain(py))
            .collect::<PyResult<_>>()?;
        Ok(PyList::new(py, values)?.into_any())
    }

    fn from_plain(plain: &Bound<'_, PyAny>) -> PyResult<Self> {
        plain
            .try_iter()?
            .map(|value| T::from_plain(&value?))
            .collect()
    }
}

impl<A: Plain, B: Plain> Plain for (A, B) {
    fn to_plain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        (self.0.to_plain(py)?, self.1.to_plain(py)?).into_bound_py_any(py)
    }

    fn from_plain(plain: &Bound<'_, PyAny>) -> PyResult<Self> {
        let first = A::from_plain(&plain.get_item(0)?)?;
        Ok((first, B::from_plain(&plain.get_item(1)?)?))
    }
}

impl<K: Plain + Ord + Clone, V: Plain + Clone> Plain for BTreeMap<K, V> {
    fn to_plain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pairs: Vec<(K, V)> = self.clone().into_iter().collect();
        pairs.to_plain(py)
    }

    fn from_plain(plain: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Vec::from_plain(plain)?.into_iter().collect())
    }
}

/// Seconds and nanoseconds: Python's own durations count microseconds.
impl Plain for Duration {
    fn to_plain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        (self.as_secs(), self.subsec_nanos()).to_plain(py)
    }

    fn from_plain(plain: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (seconds, nanoseconds) = Plain::from_plain(plain)?;
        Ok(Self::new(seconds, nanoseconds))
    }
}

macro_rules! by_name {
    ($($type:ty: $of_name:expr;)*) => {
        $(
            impl Plain for $type {
                fn to_plain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                    self.to_string().into_bound_py_any(py)
                }

                fn from_plain(plain: &Bound<'_, PyAny>) -> PyResult<Self> {
                    let name: String = plain.extract()?;
                    let of_name: fn(&str) -> Option<Self> = $of_name;
                    of_name(&name).ok_or_else(|| {
                        PyValueError::new_err(format!("this version does not know {name:?}"))
                    })
                }
            }
        )*
    };
}

by_name! {
    DraftKind: DraftKind::of_name;
    Verification: |name| name.parse().ok();
    FinishReason: |name| {
        let reasons = [FinishReason::Stop, FinishReason::Length, FinishReason::Cancelled];
        reasons.into_iter().find(|reason| reason.to_string() == name)
    };
}

/// A struct as the dict of its fields.
macro_rules! plain_fields {
    ($($type:ty { $($field:ident),* $(,)? })*) => {
        $(
            impl Plain for $type {
                fn to_plain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                    let fields = pyo3::types::PyDict::new(py);
                    $(fields.set_item(stringify!($field), self.$field.to_plain(py)?)?;)*
                    Ok(fields.into_any())
                }

                fn from_plain(plain: &Bound<'_, PyAny>) -> PyResult<Self> {
                    Ok(Self {
                        $($field: Plain::from_plain(&plain.get_item(stringify!($field))?)?,)*
                    })
                }
            }
        )*
    };
}

pub(super) use plain_fields;

plain_fields! {
    Token { id, text, logprob, top_logprobs, top_texts, source, step }
    Chunk { text, tokens }
    Generation { text, tokens, finish_reason, stats }
    SourceStats { drafted, accepted }
    BatchInvariance { rows, identical, largest_difference, largest_logit }
    Divergence { prompt, seed, position, plain, speculative, margin, by_rounding }
    Identity { texts, drafted, divergences }
    Uniformity {
        tokens, chi_squared, degrees, p_value, total_variation, expected_variation, detectable, holds,
    }
    DistributionTest { verification, drafted, uniformity }
    SourceReport {
        draft, greedy, seeded, distributions, drafted_per_position, accepted_per_position,
    }
    AuditReport { lossless, greedy, seeded, distribution, verdict, rows, sources }
    Verdict { summary, greedy, seeded, distribution }
    Measurement {
        tokens_per_second, decode_seconds, draft_seconds, verify_seconds, latencies,
        time_to_first_token, acceptance_rate, tokens_per_step, steps, drafted, accepted,
        new_tokens, accepted_lengths, totals,
    }
    Totals { new_tokens, steps, drafted, accepted, decode_seconds }
    Comparison { speedup, speedup_range, baseline, speculative, identical, text }
}
