//! `Sequence`: a token sequence in a model's cache.

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use super::convert::{TokenIds, field};
use super::detached::Detached;
use crate::model::TokenSequence;

/// A token sequence in a model's cache, for your own decoding loop.
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

    /// Appends a tree of tokens, of which `accept` keeps one path; returns the logits of all: float32 [ids, vocab_size].
    ///
    /// `parents` are the indices of the tokens that they follow; None is the end of the sequence.
    fn extend_tree<'py>(
        &self,
        py: Python<'py>,
        ids: TokenIds,
        parents: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let expected = "for each of the ids the index of one before it, or None";
        let parents: Vec<Option<usize>> = field("parents", parents, expected)?;
        let rows = ids.0.len();
        let (logits, vocab_size) = self.0.with(py, |sequence| {
            let logits = sequence.extend_tree(&ids.0, &parents, rows);
            (logits, sequence.vocab_size())
        })?;
        PyArray1::from_vec(py, logits?.into_vec()).reshape([rows, vocab_size])
    }

    /// Accepts a path of a tree's tokens (their indices, from the root), and rolls back the others.
    fn accept(&self, py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<()> {
        let path: Vec<usize> = field("path", path, "indices of the tree's tokens")?;
        Ok(self.0.with(py, |sequence| sequence.accept(&path))??)
    }

    /// The old name of `accept`, kept for one release.
    fn keep(&self, py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<()> {
        self.accept(py, path)
    }

    /// Removes all but the first `length` tokens, and any tree after them.
    fn truncate(&self, py: Python<'_>, length: &Bound<'_, PyAny>) -> PyResult<()> {
        let length = field(
            "length",
            length,
            "an integer from 0 to the number of tokens",
        )?;
        Ok(self.0.with(py, |sequence| sequence.truncate(length))??)
    }

    /// A new sequence with the same tokens.
    fn fork(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self::new(self.0.with(py, |sequence| sequence.fork())??))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.0.with(py, |sequence| sequence.len())
    }
}
