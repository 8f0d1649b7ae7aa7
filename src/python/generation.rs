//! What a generation gives: `Generation`, `Stats`, `Chunk`, `Token`.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::PyType;

use super::html;
use super::plain::{Plain, plain_fields};
use super::record::{self, Reduced, record};
use super::value::ToPython;
use crate::engine::{self, SourceStats, statistics};
use crate::settings::DraftKind;

/// The statistics that a `repr()` shows.
const HEADLINES: [&str; 10] = [
    "prompt_tokens",
    "cached_tokens",
    "new_tokens",
    "steps",
    "drafted",
    "accepted",
    "time_to_first_token",
    "decode_seconds",
    "tokens_per_second",
    "speedup",
];

record! {
    /// A generated token.
    Token(token: engine::Token) {
        /// Its id.
        id: u32 = token.id,
        /// The text it completed; empty in the middle of a character, and for special tokens.
        text: String = token.text.clone(),
        /// Natural logarithm of the target's probability for it; None unless asked for.
        logprob: Option<f32> = token.logprob,
        /// The most probable alternatives as (id, logprob), best first.
        top_logprobs: Vec<(u32, f32)> = token.top_logprobs.clone(),
        /// What each of the tokens in top_logprobs stands for alone.
        top_texts: Vec<String> = token.top_texts.clone(),
        /// The source that proposed it: "target", or the name of a draft source.
        source: String = token.source.to_string(),
        /// The step that accepted it, from 0.
        step: usize = token.step,
    }
}

record! {
    /// What one step adds to a generation.
    Chunk(chunk: engine::Chunk) {
        /// Text that is certain now.
        text: String = chunk.text.clone(),
        /// The step's tokens.
        tokens: Vec<Token> = chunk.tokens.iter().cloned().map(Token).collect(),
    }
}

macro_rules! define_stats {
    (
        fields { $(#[doc = $doc:tt] $field:ident: $type:ty,)* }
        durations { $(#[doc = $duration_doc:tt] $duration:ident as $seconds:ident,)* }
        computed { $(#[doc = $computed_doc:tt] $computed:ident: $computed_type:ty,)* }
    ) => {
        /// Counts and times of a generation; times are in seconds.
        #[pyclass(module = "specdec_rs", frozen, eq)]
        #[derive(Clone, PartialEq)]
        pub struct Stats(pub(super) engine::Stats);

        #[pymethods]
        impl Stats {
            $(
                #[doc = $doc]
                #[getter]
                fn $field<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                    self.0.$field.to_python(py)
                }
            )*
            $(
                #[doc = $duration_doc]
                #[getter]
                fn $seconds(&self) -> f64 {
                    self.0.$duration.as_secs_f64()
                }
            )*
            $(
                #[doc = $computed_doc]
                #[getter]
                fn $computed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                    self.0.$computed().to_python(py)
                }
            )*

            /// All properties by name.
            fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
                record::as_dict(slf, Self::names())
            }

            fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
                record::repr(slf, &HEADLINES)
            }

            fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
                record::reduce(slf, &slf.get().0)
            }

            #[classmethod]
            fn _restore(_class: &Bound<'_, PyType>, plain: &Bound<'_, PyAny>) -> PyResult<Self> {
                Plain::from_plain(plain).map(Self)
            }
        }

        plain_fields! {
            engine::Stats { $($field,)* $($duration,)* plain }
        }

        impl Stats {
            /// Each property with its type in stubs, and its docstring.
            pub(super) const PROPERTIES: &[(&str, &str, &str)] = &[
                $((stringify!($field), <$type as ToPython>::TYPE, $doc),)*
                $((stringify!($seconds), <f64 as ToPython>::TYPE, $duration_doc),)*
                $((stringify!($computed), <$computed_type as ToPython>::TYPE, $computed_doc),)*
            ];
        }
    };
}

statistics!(define_stats);

impl Stats {
    fn names() -> impl Iterator<Item = &'static str> {
        Self::PROPERTIES.iter().map(|(name, ..)| *name)
    }
}

/// A finished generation; `str()` of it is its text.
#[pyclass(module = "specdec_rs", frozen, eq)]
#[derive(Clone, PartialEq)]
pub struct Generation(pub(super) engine::Generation);

#[pymethods]
impl Generation {
    /// The text, without special tokens and stop string.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// The ids of the tokens, an end-of-text token included.
    #[getter]
    fn tokens(&self) -> Vec<u32> {
        self.0.token_ids()
    }

    /// The tokens with their texts, log-probabilities and sources.
    #[getter]
    fn details(&self) -> Vec<Token> {
        self.0.tokens.iter().cloned().map(Token).collect()
    }

    /// Why it ended: "stop", "length" or "cancelled".
    #[getter]
    fn finish_reason(&self) -> String {
        self.0.finish_reason.to_string()
    }

    /// The log-probability of each token; None unless asked for.
    #[getter]
    fn logprobs(&self) -> Option<Vec<f32>> {
        let logprobs = self.0.tokens.iter().map(|token| token.logprob);
        let known: Option<Vec<f32>> = logprobs.collect();
        known.filter(|known| !known.is_empty())
    }

    /// The counts and times.
    #[getter]
    fn stats(&self) -> Stats {
        Stats(self.0.stats.clone())
    }

    fn __str__(&self) -> &str {
        &self.0.text
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let text = record::shown(&slf.getattr("text")?)?;
        let generation = &slf.get().0;
        let (tokens, reason) = (generation.tokens.len(), generation.finish_reason);
        Ok(format!(
            "Generation(text={text}, new_tokens={tokens}, finish_reason='{reason}')"
        ))
    }

    /// What notebooks show: the text, each token marked by the source that proposed it.
    fn _repr_html_(&self) -> PyResult<String> {
        Ok(html::fragment(&self.0)?)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        record::reduce(slf, &slf.get().0)
    }

    #[classmethod]
    fn _restore(_class: &Bound<'_, PyType>, plain: &Bound<'_, PyAny>) -> PyResult<Self> {
        Plain::from_plain(plain).map(Self)
    }

    /// All of it as plain values, ready for JSON.
    fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
        let dict = record::as_dict(slf, ["text", "tokens", "finish_reason", "logprobs"])?;
        let stats = slf.getattr("stats")?;
        dict.set_item("stats", record::as_dict(&stats, Stats::names())?)?;
        Ok(dict)
    }
}
