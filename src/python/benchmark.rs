//! `Benchmark`: plain against speculative decoding.

use pyo3::prelude::*;

use super::config::SpeculativeConfig;
use super::convert::positive;
use super::decoder::{self, SpeculativeDecoder};
use super::record::record;
use crate::benchmark;
use crate::decoder::Prompt;

record! {
    /// One side of a comparison; times are in seconds.
    Measurement(measured: benchmark::Measurement) {
        /// Median over the runs of new tokens a second, the prompt's reading left out.
        tokens_per_second: f64 = measured.tokens_per_second,
        /// Each run from request to last token.
        latencies: Vec<f64> = measured.latencies.clone(),
        /// Median time to the first token.
        time_to_first_token: f64 = measured.time_to_first_token,
        /// Share of drafted tokens accepted, over all runs.
        acceptance_rate: f64 = measured.acceptance_rate,
        /// New tokens a pass of the target, over all runs.
        tokens_per_step: f64 = measured.tokens_per_step,
        /// New tokens of the first run.
        new_tokens: usize = measured.new_tokens,
    }
}

record! {
    /// Plain and speculative decoding of the same prompt.
    Comparison(comparison: benchmark::Comparison) {
        /// Median over the runs of speculative over plain tokens a second.
        speedup: f64 = comparison.speedup,
        /// Without speculation.
        baseline: Measurement = Measurement(comparison.baseline.clone()),
        /// With speculation.
        speculative: Measurement = Measurement(comparison.speculative.clone()),
        /// Whether greedy decoding gave the same tokens both ways.
        identical: bool = comparison.identical,
        /// The text of the first speculative run.
        text: String = comparison.text.clone(),
    }
}

/// Compares a decoder with itself without speculation.
#[pyclass(module = "specdec_rs", frozen)]
pub struct Benchmark(crate::decoder::SpeculativeDecoder);

#[pymethods]
impl Benchmark {
    #[new]
    fn new(decoder: &SpeculativeDecoder) -> Self {
        Self(decoder.0.clone())
    }

    /// Runs both ways `num_runs` times, interleaved, after a pass of each to warm up.
    #[pyo3(signature = (prompt, config=None, num_runs=None), text_signature = "($self, prompt, config=None, num_runs=3)")]
    fn run_comparison(
        &self,
        py: Python<'_>,
        prompt: Prompt,
        config: Option<&Bound<'_, SpeculativeConfig>>,
        num_runs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Comparison> {
        let config = SpeculativeConfig::of_call(config, None)?;
        let runs = positive("num_runs", num_runs)?.unwrap_or(3);
        let benchmark = benchmark::Benchmark::new(self.0.clone()).running(decoder::run);
        Ok(Comparison(py.detach(|| {
            benchmark.run_comparison(prompt, &config, runs)
        })?))
    }
}
