//! `Tokenizer`.

use pyo3::prelude::*;

use super::convert::{ModelName, TokenIds};
use crate::error::Result;
use crate::hub::{LocateOptions, locate};
use crate::model;
use crate::progress::Silent;
use crate::text;

/// Converts text to token ids and back.
///
/// model: a hub name, a folder or a .gguf file whose tokenizer is loaded.
#[pyclass(module = "specdec_rs", frozen)]
pub struct Tokenizer(pub(super) text::Tokenizer);

#[pymethods]
impl Tokenizer {
    #[new]
    fn new(py: Python<'_>, model: ModelName) -> PyResult<Self> {
        py.detach(|| load(&model.0)).map(Self).map_err(PyErr::from)
    }

    /// The token ids of a text.
    #[pyo3(signature = (text, add_special_tokens=true))]
    fn encode(&self, py: Python<'_>, text: &str, add_special_tokens: bool) -> PyResult<Vec<u32>> {
        Ok(py.detach(|| self.0.encode(text, add_special_tokens))?)
    }

    /// The text of token ids.
    #[pyo3(signature = (ids, skip_special_tokens=true))]
    fn decode(&self, py: Python<'_>, ids: TokenIds, skip_special_tokens: bool) -> PyResult<String> {
        Ok(py.detach(|| self.0.decode(&ids.0, skip_special_tokens))?)
    }

    /// Number of tokens in the vocabulary.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }
}

fn load(name: &str) -> Result<text::Tokenizer> {
    let options = LocateOptions {
        revision: None,
        progress: &Silent,
    };
    model::load_tokenizer(&locate(name, &options)?)
}

/// A tokenizer, or the model whose tokenizer it is.
#[derive(FromPyObject)]
pub(super) enum TokenizerArgument<'py> {
    Loaded(Bound<'py, Tokenizer>),
    Name(ModelName),
}

impl TokenizerArgument<'_> {
    pub(super) fn load(self, py: Python<'_>) -> PyResult<text::Tokenizer> {
        match self {
            Self::Loaded(tokenizer) => Ok(tokenizer.get().0.clone()),
            Self::Name(name) => Ok(py.detach(|| load(&name.0))?),
        }
    }
}
