//! `Sequence`: a token sequence in a model's cache.

use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use super::convert::{TokenIds, field};
use super::detached::Detached;
use crate::model::TokenSequence;

/// A token sequence in a model's cache, for your own decoding loop.
///
/// Example:
///     >>> sequence = decoder.sequence()
///     >>> next_token = int(sequence.extend([5, 6, 7])[-1].argmax())
///     >>> sequence.truncate(2)
///     >>> len(sequence)
///     2
#[pyclass(module = "specdec_rs", frozen)]
pub struct Sequence(Detached<TokenSequence>);

impl Sequence {
    pub(super) fn new(sequence: TokenSequence) -> Self {
        Self(Detached::new(sequence))
    }
}

#[pymethods]
impl Sequence {
    /// Appends tokens.
    ///
    /// Args:
    ///     ids: Token ids.
    ///     rows: How many of the last tokens to return logits for.
    ///
    /// Returns:
    ///     The logits: float32 [rows, vocab_size].
    ///
    /// Raises:
    ///     InvalidConfig: There are fewer ids than rows, or an id is not in the vocabulary.
    ///     ContextOverflow: The tokens do not fit the model's context.
    ///
    /// Example:
    ///     >>> decoder.sequence().extend([5, 6, 7], rows=2).shape
    ///     (2, 512)
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
            let logits = sequence.extend(&ids.0, rows)?;
            Ok((logits.into_vec(), sequence.vocab_size()))
        })?;
        PyArray1::from_vec(py, logits).reshape([rows, vocab_size])
    }

    /// Appends a tree of tokens, of which `accept` keeps one path.
    ///
    /// Args:
    ///     ids: Token ids.
    ///     parents: For each, the index of the token that it follows; None is the end of the sequence.
    ///
    /// Returns:
    ///     The logits of all tokens: float32 [len(ids), vocab_size].
    ///
    /// Raises:
    ///     InvalidConfig: A parent comes after its child, or an id is not in the vocabulary.
    ///     ContextOverflow: The tokens do not fit the model's context.
    ///
    /// Example:
    ///     >>> sequence = decoder.sequence()
    ///     >>> logits = sequence.extend([5, 6])
    ///     >>> sequence.extend_tree([7, 8, 9], [None, None, 0]).shape
    ///     (3, 512)
    ///     >>> sequence.accept([0, 2])
    ///     >>> len(sequence)
    ///     4
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
            let logits = sequence.extend_tree(&ids.0, &parents, rows)?;
            Ok((logits.into_vec(), sequence.vocab_size()))
        })?;
        PyArray1::from_vec(py, logits).reshape([rows, vocab_size])
    }

    /// Accepts a path of a tree's tokens, and rolls back the others.
    ///
    /// Args:
    ///     path: The tokens' indices, from the root.
    ///
    /// Raises:
    ///     InvalidConfig: It is not a path of the tree.
    ///
    /// Example:
    ///     >>> sequence = decoder.sequence()
    ///     >>> logits = sequence.extend_tree([5, 6], [None, None])
    ///     >>> sequence.accept([1])
    fn accept(&self, py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<()> {
        let path: Vec<usize> = field("path", path, "indices of the tree's tokens")?;
        self.0.with(py, |sequence| sequence.accept(&path))
    }

    /// The old name of `accept`, kept for one release.
    fn keep(&self, py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<()> {
        self.accept(py, path)
    }

    /// Removes all but the first tokens, and any tree after them.
    ///
    /// Args:
    ///     length: How many tokens stay.
    ///
    /// Raises:
    ///     InvalidConfig: There are fewer tokens.
    ///
    /// Example:
    ///     >>> sequence = decoder.sequence()
    ///     >>> logits = sequence.extend([5, 6, 7])
    ///     >>> sequence.truncate(1)
    fn truncate(&self, py: Python<'_>, length: &Bound<'_, PyAny>) -> PyResult<()> {
        let length = field(
            "length",
            length,
            "an integer from 0 to the number of tokens",
        )?;
        self.0.with(py, |sequence| sequence.truncate(length))
    }

    /// A new sequence with the same tokens.
    ///
    /// Returns:
    ///     The sequence.
    ///
    /// Example:
    ///     >>> sequence = decoder.sequence()
    ///     >>> logits = sequence.extend([5, 6, 7])
    ///     >>> len(sequence.fork())
    ///     3
    fn fork(&self, py: Python<'_>) -> PyResult<Self> {
        self.0.with(py, |sequence| sequence.fork()).map(Self::new)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.0.with(py, |sequence| Ok(sequence.len()))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<Sequence: {} tokens>", self.__len__(py)?))
    }
}
