//! The speedup of speculative over plain decoding, measured side by side.
//!
//! ```no_run
//! use specdec_rs::{Benchmark, SpeculativeConfig, SpeculativeDecoder};
//!
//! let decoder = SpeculativeDecoder::new("smollm2-135m", "ngram", None)?;
//! let comparison = Benchmark::new(decoder).run_comparison("Once upon a time,", &SpeculativeConfig::default(), 3)?;
//! println!("{:.2}x", comparison.speedup);
//! # Ok::<(), specdec_rs::Error>(())
//! ```

mod passes;
#[cfg(feature = "cli")]
mod summary;

use serde::Serialize;

use super::runner::{First, Pair, Runner, Totals, check, median, range};
use crate::decoder::{Prompt, SpeculativeDecoder, Stream};
use crate::engine::{Generation, Stats};
use crate::error::{Error, Result};
use crate::settings::{SpeculativeConfig, Verification};
pub use passes::{ContextTime, PassTimes, VerifyTime};
#[cfg(feature = "cli")]
pub(crate) use summary::Summary;

/// Compares a decoder with itself without speculation.
pub struct Benchmark {
    decoder: SpeculativeDecoder,
    run: Box<dyn Fn(Stream) -> Result<Generation> + Send + Sync>,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// Median over the runs of new tokens per second, prefill left out.
    pub tokens_per_second: f64,
    /// Median seconds of decoding, after prefill.
    pub decode_seconds: f64,
    /// Median seconds of drafting.
    pub draft_seconds: f64,
    /// Median seconds of the target's forward passes while decoding.
    pub verify_seconds: f64,
    /// Seconds of each run from request to last token.
    pub latencies: Vec<f64>,
    /// Median seconds to the first token.
    pub time_to_first_token: f64,
    /// Share of the drafted tokens that were accepted, over all runs.
    pub acceptance_rate: f64,
    /// New tokens per forward pass of the target, over all runs.
    pub tokens_per_step: f64,
    /// The target's forward passes while decoding, over all runs.
    pub steps: usize,
    /// Drafted tokens, over all runs.
    pub drafted: usize,
    /// Drafted tokens that were accepted, over all runs.
    pub accepted: usize,
    /// New tokens of the first run.
    pub new_tokens: usize,
    /// Steps of the first run that accepted 0, 1, 2, ... drafted tokens.
    pub accepted_lengths: Vec<usize>,
    /// What all runs did together.
    #[serde(skip)]
    pub(crate) totals: Totals,
}

/// Plain and speculative decoding of the same prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Median over the runs of speculative over plain tokens per second, each pair run back to back. Where `speculative`
    /// accepted nothing, drafts made nothing faster: it is their cost, and noise.
    pub speedup: f64,
    /// The speedups of the slowest and the fastest pair.
    pub speedup_range: [f64; 2],
    /// Without speculation.
    pub baseline: Measurement,
    /// With speculation.
    pub speculative: Measurement,
    /// Whether both ways gave the same tokens. A verification that only keeps the distribution is compared by greedy
    /// decoding.
    pub identical: bool,
    /// The text of the first speculative run.
    pub text: String,
}

impl Benchmark {
    /// A benchmark of that decoder.
    pub fn new(decoder: SpeculativeDecoder) -> Self {
        Self {
            decoder,
            run: Box::new(Stream::run),
        }
    }

    /// Runs each request with `run` in place of [`Stream::run`], so that a caller can count or interrupt its steps.
    #[must_use]
    pub fn running(
        self,
        run: impl Fn(Stream) -> Result<Generation> + Send + Sync + 'static,
    ) -> Self {
        Self {
            run: Box::new(run),
            ..self
        }
    }

    /// The number of requests that [`Self::run_comparison`] runs.
    pub fn requests(config: &SpeculativeConfig, runs: usize) -> usize {
        2 * runs + if repeats_texts(config) { 0 } else { 2 }
    }

    /// Runs both ways `runs` times, interleaved. The runs use what the decoder learned from earlier requests; what it
    /// learns from this prompt is used by later prompts only.
    pub fn run_comparison(
        &self,
        prompt: impl Into<Prompt>,
        config: &SpeculativeConfig,
        runs: usize,
    ) -> Result<Comparison> {
        if runs == 0 {
            return Err(Error::invalid("runs", runs, "an integer >= 1"));
        }
        check(1, config)?;
        let prompt = prompt.into();
        let config = SpeculativeConfig {
            seed: Some(config.seed.unwrap_or(0)),
            ..config.clone()
        };
        let runner = Runner::new(&*self.run);
        let mut pairs = Vec::with_capacity(runs);
        for run in 1..=runs {
            // No run may draft from the text that another run generated; later prompts may.
            let decoder = match run == runs {
                true => self.decoder.clone(),
                false => self.decoder.apart(),
            };
            let first = match run % 2 {
                1 => First::Baseline,
                _ => First::Speculative,
            };
            pairs.push(runner.pair(&decoder, &prompt, &config, first)?);
        }
        let identical = match repeats_texts(&config) {
            true => pairs.iter().all(Pair::identical),
            false => {
                let greedy = SpeculativeConfig {
                    temperature: 0.0,
                    ..config
                };
                let pair = runner.pair(&self.decoder, &prompt, &greedy, First::Baseline)?;
                pair.identical()
            }
        };
        let speedups: Vec<f64> = pairs.iter().map(Pair::speedup).collect();
        let text = pairs.first().map(|pair| pair.speculative.text.clone());
        Ok(Comparison {
            speedup_range: range(speedups.iter().copied()),
            speedup: median(speedups),
            baseline: Measurement::of(pairs.iter().map(|pair| &pair.baseline.stats)),
            speculative: Measurement::of(pairs.iter().map(|pair| &pair.speculative.stats)),
            identical,
            text: text.unwrap_or_default(),
        })
    }
}

/// Whether speculation gives the very text of plain decoding.
fn repeats_texts(config: &SpeculativeConfig) -> bool {
    config.is_greedy() || config.verification == Verification::Coupled
}

impl Measurement {
    fn of<'a>(runs: impl Iterator<Item = &'a Stats>) -> Self {
        let runs: Vec<&Stats> = runs.collect();
        let each = |value: fn(&Stats) -> f64| runs.iter().map(|run| value(run)).collect::<Vec<_>>();
        let totals: Totals = runs.iter().map(|run| Totals::from(*run)).sum();
        let first = runs.first();
        Self {
            tokens_per_second: median(each(Stats::tokens_per_second)),
            decode_seconds: median(each(|run| run.decode.as_secs_f64())),
            draft_seconds: median(each(|run| run.draft.as_secs_f64())),
            verify_seconds: median(each(|run| run.verify.as_secs_f64())),
            latencies: each(|run| (run.prefill + run.decode).as_secs_f64()),
            time_to_first_token: median(each(|run| run.time_to_first_token.as_secs_f64())),
            acceptance_rate: totals.acceptance_rate(),
            tokens_per_step: totals.tokens_per_step(),
            steps: totals.steps,
            drafted: totals.drafted,
            accepted: totals.accepted,
            new_tokens: first.map_or(0, |run| run.new_tokens),
            accepted_lengths: first.map(|run| run.accepted_lengths()).unwrap_or_default(),
            totals,
        }
    }
}
