//! What a generation gives: `Generation`, `Stats`, `Chunk`, `Token`.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use super::record::record;
use super::value::ToPython;
use crate::engine::{self, SourceStats, statistics};
use crate::settings::DraftKind;

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
        /// Who wrote it first: "target", or the draft source's name.
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
                super::record::as_dict(slf, Self::names())
            }

            fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
                let names: Vec<&str> = Self::names().collect();
                super::record::repr(slf, &names)
            }
        }

        impl Stats {
            /// Each property with its type in stubs.
            pub(super) const PROPERTIES: &[(&str, &str)] = &[
                $((stringify!($field), <$type as ToPython>::TYPE),)*
                $((stringify!($seconds), <f64 as ToPython>::TYPE),)*
                $((stringify!($computed), <$computed_type as ToPython>::TYPE),)*
            ];
        }
    };
}

statistics!(define_stats);

impl Stats {
    fn names() -> impl Iterator<Item = &'static str> {
        Self::PROPERTIES.iter().map(|(name, _)| *name)
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

    /// The tokens with all that is known of them.
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

    /// How it went.
    #[getter]
    fn stats(&self) -> Stats {
        Stats(self.0.stats.clone())
    }

    fn __str__(&self) -> &str {
        &self.0.text
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        super::record::repr(slf, &["text", "finish_reason"])
    }

    /// All of it as plain values, ready for JSON.
    fn as_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, pyo3::types::PyDict>> {
        let dict = super::record::as_dict(slf, ["text", "tokens", "finish_reason", "logprobs"])?;
        let stats = slf.getattr("stats")?;
        dict.set_item("stats", super::record::as_dict(&stats, Stats::names())?)?;
        Ok(dict)
    }
}
