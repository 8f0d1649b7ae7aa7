//! `Benchmark`: plain against speculative decoding.

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use super::config::SpeculativeConfig;
use super::convert::positive;
use super::decoder::SpeculativeDecoder;
use super::detached::detach;
use super::record::record;
use super::requests;
use crate::decoder::Prompt;
use crate::evaluation::benchmark;

record! {
    /// One side of a comparison; times are in seconds.
    Measurement(measured: benchmark::Measurement) {
        /// Median over the runs of new tokens per second, prefill left out.
        tokens_per_second: f64 = measured.tokens_per_second,
        /// Median time of decoding, after prefill.
        decode_seconds: f64 = measured.decode_seconds,
        /// Median time of drafting.
        draft_seconds: f64 = measured.draft_seconds,
        /// Median time of the target's forward passes while decoding.
        verify_seconds: f64 = measured.verify_seconds,
        /// Each run from request to last token.
        latencies: Vec<f64> = measured.latencies.clone(),
        /// Median time to the first token.
        time_to_first_token: f64 = measured.time_to_first_token,
        /// Share of the drafted tokens that were accepted, over all runs.
        acceptance_rate: f64 = measured.acceptance_rate,
        /// New tokens per forward pass of the target, over all runs.
        tokens_per_step: f64 = measured.tokens_per_step,
        /// The target's forward passes while decoding, over all runs.
        steps: usize = measured.steps,
        /// Drafted tokens, over all runs.
        drafted: usize = measured.drafted,
        /// Drafted tokens that were accepted, over all runs.
        accepted: usize = measured.accepted,
        /// New tokens of the first run.
        new_tokens: usize = measured.new_tokens,
        /// Steps of the first run that accepted 0, 1, 2, ... drafted tokens.
        accepted_lengths: Vec<usize> = measured.accepted_lengths.clone(),
    }
}

record! {
    /// Plain and speculative decoding of the same prompt.
    Comparison(comparison: benchmark::Comparison) {
        /// Median over the runs of speculative over plain tokens per second. If speculative.accepted is 0, no draft saved time: the value shows their cost, and noise.
        speedup: f64 = comparison.speedup,
        /// The speedups of the slowest and the fastest pair.
        speedup_range: [f64; 2] = comparison.speedup_range,
        /// Without speculation.
        baseline: Measurement = Measurement(comparison.baseline.clone()),
        /// With speculation.
        speculative: Measurement = Measurement(comparison.speculative.clone()),
        /// Whether both ways gave the same tokens. If the verification only preserves the distribution, greedy decoding is compared instead.
        identical: bool = comparison.identical,
        /// The text of the first speculative run.
        text: String = comparison.text.clone(),
    }
}

/// Compares a decoder with itself without speculation.
///
/// Args:
///     decoder: The decoder.
///
/// Example:
///     >>> config = SpeculativeConfig(max_new_tokens=8)
///     >>> Benchmark(decoder).run_comparison("You may", config, num_runs=1).identical
///     True
#[pyclass(module = "specdec_rs", frozen)]
pub struct Benchmark(Py<SpeculativeDecoder>);

#[pymethods]
impl Benchmark {
    #[new]
    fn new(decoder: Py<SpeculativeDecoder>) -> Self {
        Self(decoder)
    }

    /// For the garbage collector.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }

    /// Runs both ways in turn, alternating which one runs first.
    ///
    /// Args:
    ///     prompt: A text or token ids.
    ///     config: The settings; None is the model's defaults.
    ///     num_runs: How often each way runs.
    ///
    /// Returns:
    ///     Both ways' times, and whether they gave the same tokens.
    ///
    /// Raises:
    ///     InvalidConfig: A setting is out of its range.
    ///
    /// Example:
    ///     >>> config = SpeculativeConfig(max_new_tokens=8)
    ///     >>> comparison = Benchmark(decoder).run_comparison("You may", config, num_runs=1)
    #[pyo3(signature = (prompt, config=None, num_runs=None), text_signature = "($self, prompt, config=None, num_runs=3)")]
    fn run_comparison(
        &self,
        py: Python<'_>,
        prompt: Prompt,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        num_runs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Comparison> {
        let decoder = &self.0.get().inner;
        let config = SpeculativeConfig::of_call(decoder, config, None)?;
        let runs = positive("num_runs", num_runs)?.unwrap_or(3);
        let benchmark = benchmark::Benchmark::new(decoder.clone()).running(requests::run);
        detach(py, || benchmark.run_comparison(prompt, &config, runs)).map(Comparison)
    }

    fn __repr__(&self) -> String {
        format!("<Benchmark: {}>", self.0.get().described())
    }
}
