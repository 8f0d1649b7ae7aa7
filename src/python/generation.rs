//! What a generation gives: `Generation`, `Stats`, `Chunk`, `Token`.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use super::record::record;
use crate::engine;

record! {
    /// A generated token.
    Token(token: engine::Token) {
        /// Its id.
        id: u32 = token.id,
        /// The text it completed; empty in the middle of a character, and for special tokens.
        text: String = token.text.clone(),
        /// Natural logarithm of the target's probability for it; None unless asked for.
        logprob: Option<f32> = token.logprob,
        /// The likeliest alternatives as (id, logprob), best first.
        top_logprobs: Vec<(u32, f32)> = token.top_logprobs.clone(),
        /// Who wrote it first: "target", "ngram", "model", "prediction", "recycling", "table", "grammar" or "custom".
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

record! {
    /// Counts and times of a generation; times are in seconds.
    Stats(stats: engine::Stats) {
        /// Tokens in the prompt.
        prompt_tokens: usize = stats.prompt_tokens,
        /// Those of them that had been read for an earlier request.
        cached_tokens: usize = stats.cached_tokens,
        /// Tokens written.
        new_tokens: usize = stats.new_tokens,
        /// Passes of the target that wrote them.
        steps: usize = stats.steps,
        /// Tokens proposed.
        drafted: usize = stats.drafted,
        /// Proposed tokens that the target accepted.
        accepted: usize = stats.accepted,
        /// For each position of a draft, from 0, the steps that drafted so far.
        drafted_per_position: Vec<usize> = stats.drafted_per_position.clone(),
        /// For each position of a draft, the steps that accepted so far.
        accepted_per_position: Vec<usize> = stats.accepted_per_position.clone(),
        /// By who proposed them: {"ngram": {"drafted": 5, "accepted": 4}}.
        sources: BTreeMap<String, BTreeMap<&'static str, usize>> = sources(stats),
        /// Share of the drafted tokens that were accepted; 0 without drafts.
        acceptance_rate: f64 = stats.acceptance_rate(),
        /// Tokens written a pass of the target.
        tokens_per_step: f64 = stats.tokens_per_step(),
        /// From the request to its first token.
        time_to_first_token: f64 = stats.time_to_first_token.as_secs_f64(),
        /// Reading the prompt.
        prefill_seconds: f64 = stats.prefill.as_secs_f64(),
        /// Writing, after the prompt was read.
        decode_seconds: f64 = stats.decode.as_secs_f64(),
        /// Spent drafting.
        draft_seconds: f64 = stats.draft.as_secs_f64(),
        /// Spent in the target, writing.
        verify_seconds: f64 = stats.verify.as_secs_f64(),
        /// Tokens a second, once the prompt was read.
        tokens_per_second: f64 = stats.tokens_per_second(),
        /// Against writing as much without drafts; None where no such step was measured.
        speedup: Option<f64> = stats.speedup(),
        /// The speedup that the controller expected of its choices; None where it made none.
        predicted_speedup: Option<f64> = stats.predicted_speedup,
    }
}

fn sources(stats: &engine::Stats) -> BTreeMap<String, BTreeMap<&'static str, usize>> {
    let each = stats.sources.iter().map(|(source, counts)| {
        let counts = [("drafted", counts.drafted), ("accepted", counts.accepted)];
        (source.to_string(), BTreeMap::from(counts))
    });
    each.collect()
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
        let dict = super::record::as_dict(slf, &["text", "tokens", "finish_reason", "logprobs"])?;
        let stats = slf.getattr("stats")?;
        dict.set_item("stats", super::record::as_dict(&stats, Stats::FIELDS)?)?;
        Ok(dict)
    }
}
