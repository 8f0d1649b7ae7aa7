//! Plain against speculative decoding, side by side.

mod passes;

use serde::Serialize;

use crate::config::{DraftKind, SpeculativeConfig};
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::engine::{Generation, Session};
use crate::error::{Error, Result};
pub use passes::{ContextTime, PassTimes, VerifyTime};

/// Compares a decoder with itself without speculation.
pub struct Benchmark {
    decoder: SpeculativeDecoder,
    run: fn(Session) -> Result<Generation>,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// Median over the runs of new tokens a second, the prompt's reading left out.
    pub tokens_per_second: f64,
    /// Seconds of each run from request to last token.
    pub latencies: Vec<f64>,
    /// Median seconds to the first token.
    pub time_to_first_token: f64,
    /// Share of drafted tokens accepted, over all runs.
    pub acceptance_rate: f64,
    /// New tokens a pass of the target, over all runs.
    pub tokens_per_step: f64,
    /// New tokens of the first run.
    pub new_tokens: usize,
}

/// Plain and speculative decoding of the same prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Median over the runs of speculative over plain tokens a second, each pair run back to back.
    pub speedup: f64,
    /// Without speculation.
    pub baseline: Measurement,
    /// With speculation.
    pub speculative: Measurement,
    /// Whether greedy decoding gave the same tokens both ways.
    pub identical: bool,
    /// The text of the first speculative run.
    pub text: String,
}

impl Benchmark {
    /// A benchmark of that decoder.
    pub fn new(decoder: SpeculativeDecoder) -> Self {
        Self {
            decoder,
            run: Session::run,
        }
    }

    /// Runs each request with `run` in place of [`Session::run`], for a caller that watches the steps.
    #[must_use]
    pub fn running(self, run: fn(Session) -> Result<Generation>) -> Self {
        Self { run, ..self }
    }

    /// Runs both ways `runs` times, interleaved, after a pass of each to warm up.
    ///
    /// End-of-text tokens are passed over, so that both sides write equally much.
    pub fn run_comparison(
        &self,
        prompt: impl Into<Prompt>,
        config: &SpeculativeConfig,
        runs: usize,
    ) -> Result<Comparison> {
        if runs == 0 {
            return Err(Error::invalid("runs", runs, "at least 1"));
        }
        if config.max_new_tokens == 0 {
            return Err(Error::invalid("max_new_tokens", 0, "at least 1"));
        }
        let prompt = prompt.into();
        let speculative = SpeculativeConfig {
            ignore_eos: true,
            stop: Vec::new(),
            seed: Some(config.seed.unwrap_or(0)),
            ..config.clone()
        };
        let plain = SpeculativeConfig {
            draft: Some(DraftKind::None),
            ..speculative.clone()
        };
        let identical =
            self.greedy_tokens(&prompt, &plain)? == self.greedy_tokens(&prompt, &speculative)?;
        let mut pairs = Vec::with_capacity(runs);
        for _ in 0..runs {
            let baseline = self.generate(&prompt, &plain)?;
            pairs.push((baseline, self.generate(&prompt, &speculative)?));
        }
        let ratios = pairs
            .iter()
            .map(|(plain, speculative)| {
                speculative.stats.tokens_per_second() / plain.stats.tokens_per_second()
            })
            .collect();
        let (plain, speculative): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        Ok(Comparison {
            speedup: median(ratios),
            baseline: Measurement::of(&plain),
            text: speculative
                .first()
                .map(|run| run.text.clone())
                .unwrap_or_default(),
            speculative: Measurement::of(&speculative),
            identical,
        })
    }

    fn greedy_tokens(&self, prompt: &Prompt, config: &SpeculativeConfig) -> Result<Vec<u32>> {
        let greedy = SpeculativeConfig {
            temperature: 0.0,
            ..config.clone()
        };
        Ok(self.generate(prompt, &greedy)?.token_ids())
    }

    fn generate(&self, prompt: &Prompt, config: &SpeculativeConfig) -> Result<Generation> {
        (self.run)(self.decoder.session(prompt.clone(), config)?)
    }
}

impl Measurement {
    fn of(runs: &[Generation]) -> Self {
        let each = |value: fn(&Generation) -> f64| runs.iter().map(value).collect::<Vec<f64>>();
        let sum = |value: fn(&Generation) -> usize| runs.iter().map(value).sum::<usize>() as f64;
        let drafted = sum(|run| run.stats.drafted);
        Self {
            tokens_per_second: median(each(|run| run.stats.tokens_per_second())),
            latencies: each(|run| (run.stats.prefill + run.stats.decode).as_secs_f64()),
            time_to_first_token: median(each(|run| run.stats.time_to_first_token.as_secs_f64())),
            acceptance_rate: sum(|run| run.stats.accepted) / drafted.max(1.0),
            tokens_per_step: sum(|run| run.stats.new_tokens) / sum(|run| run.stats.steps).max(1.0),
            new_tokens: runs.first().map_or(0, |run| run.stats.new_tokens),
        }
    }
}

/// The middle value; of an even number the mean of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
