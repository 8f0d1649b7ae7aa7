//! `Sequence`: a token sequence in a model's cache.

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use super::convert::{TokenIds, field};
use super::detached::Detached;
use crate::model::TokenSequence;

/// A token sequence in a model's cache, for a decoding loop of one's own.
#[pyclass(module = "specdec_rs", frozen)]
pub struct Sequence(Detached<TokenSequence>);

impl Sequence {
    pub(super) fn new(sequence: TokenSequence) -> Self {
        Self(Detached::new(sequence))
    }
}

#[pymethods]
impl Sequence {
    /// Appends tokens; returns the logits of the last `rows` of them: float32 [rows, vocab_size].
    #[pyo3(signature = (ids, rows=None), text_signature = "($self, ids, rows=1)")]
    fn extend<'py>(
        &self,
        py: Python<'py>,
        ids: TokenIds,
        rows: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let rows = match rows {
            Some(rows) => field("rows", &rows, "an integer from 0 to the number of ids")?,
            None => 1,
        };
        let (logits, vocab_size) = self.0.with(py, |sequence| {
            (sequence.extend(&ids.0, rows), sequence.vocab_size())
        })?;
        PyArray1::from_vec(py, logits?.into_vec()).reshape([rows, vocab_size])
    }

    /// Forgets all but the first `length` tokens.
    fn truncate(&self, py: Python<'_>, length: &Bound<'_, PyAny>) -> PyResult<()> {
        let length = field(
            "length",
            length,
            "an integer from 0 to the number of tokens held",
        )?;
        Ok(self.0.with(py, |sequence| sequence.truncate(length))??)
    }

    /// Another sequence that begins with the same tokens.
    fn fork(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self::new(self.0.with(py, |sequence| sequence.fork())??))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.0.with(py, |sequence| sequence.len())
    }
}
