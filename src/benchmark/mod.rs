//! Plain against speculative decoding, side by side.

mod passes;

use serde::Serialize;

use crate::decoder::{Prompt, SpeculativeDecoder, Stream};
use crate::engine::Generation;
use crate::error::{Error, Result};
use crate::settings::{DraftKind, SpeculativeConfig, Verification};
pub use passes::{ContextTime, PassTimes, VerifyTime};

/// Compares a decoder with itself without speculation.
pub struct Benchmark {
    decoder: SpeculativeDecoder,
    run: fn(Stream) -> Result<Generation>,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// Median over the runs of new tokens a second, the prompt's reading left out.
    pub tokens_per_second: f64,
    /// Median seconds of writing, after the prompt was read.
    pub decode_seconds: f64,
    /// Median seconds of drafting.
    pub draft_seconds: f64,
    /// Median seconds in the target, writing.
    pub verify_seconds: f64,
    /// Seconds of each run from request to last token.
    pub latencies: Vec<f64>,
    /// Median seconds to the first token.
    pub time_to_first_token: f64,
    /// Share of drafted tokens accepted, over all runs.
    pub acceptance_rate: f64,
    /// New tokens a pass of the target, over all runs.
    pub tokens_per_step: f64,
    /// Passes of the target that wrote, over all runs.
    pub steps: usize,
    /// Drafted tokens, over all runs.
    pub drafted: usize,
    /// Accepted ones of them.
    pub accepted: usize,
    /// New tokens of the first run.
    pub new_tokens: usize,
    /// Steps of the first run that accepted 0, 1, 2, ... drafted tokens.
    pub accepted_lengths: Vec<usize>,
}

/// Plain and speculative decoding of the same prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Median over the runs of speculative over plain tokens a second, each pair run back to back.
    pub speedup: f64,
    /// The slowest and the fastest pair's.
    pub speedup_range: [f64; 2],
    /// Without speculation.
    pub baseline: Measurement,
    /// With speculation.
    pub speculative: Measurement,
    /// Whether both ways gave the same tokens; with verification that promises only their law, by greedy decoding.
    pub identical: bool,
    /// The text of the first speculative run.
    pub text: String,
}

impl Benchmark {
    /// A benchmark of that decoder.
    pub fn new(decoder: SpeculativeDecoder) -> Self {
        Self {
            decoder,
            run: Stream::run,
        }
    }

    /// Runs each request with `run` in place of [`Stream::run`], for a caller that watches the steps.
    #[must_use]
    pub fn running(self, run: fn(Stream) -> Result<Generation>) -> Self {
        Self { run, ..self }
    }

    /// Runs both ways `runs` times, interleaved. What the decoder learned from other requests is used; what it learns from
    /// this prompt comes to later ones alone.
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
            seed: Some(config.seed.unwrap_or(0)),
            ..config.clone()
        };
        let plain = SpeculativeConfig {
            draft: Some(DraftKind::None),
            ..speculative.clone()
        };
        let mut pairs = Vec::with_capacity(runs);
        for run in 1..=runs {
            // No run may remember the text that another wrote; later prompts may.
            let decoder = match run == runs {
                true => self.decoder.clone(),
                false => self.decoder.apart(),
            };
            // Every run prefills the whole prompt: the times to the first token are compared.
            let decoder = decoder.without_prefix_cache();
            // In turn, so that what the first of two finds differently favours neither.
            pairs.push(match run % 2 {
                1 => {
                    let plain = self.generate(&decoder, &prompt, &plain)?;
                    (plain, self.generate(&decoder, &prompt, &speculative)?)
                }
                _ => {
                    let speculative = self.generate(&decoder, &prompt, &speculative)?;
                    (self.generate(&decoder, &prompt, &plain)?, speculative)
                }
            });
        }
        let identical = match config.is_greedy() || config.verification == Verification::Coupled {
            true => pairs.iter().all(|(a, b)| a.token_ids() == b.token_ids()),
            false => {
                self.greedy_tokens(&prompt, &plain)? == self.greedy_tokens(&prompt, &speculative)?
            }
        };
        let ratios = pairs.iter().map(|(plain, speculative)| {
            speculative.stats.tokens_per_second() / plain.stats.tokens_per_second()
        });
        let ratios: Vec<f64> = ratios.collect();
        let (plain, speculative): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let text = speculative.first().map(|run| run.text.clone());
        Ok(Comparison {
            speedup_range: [
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(0.0, f64::max),
            ],
            speedup: median(ratios),
            baseline: Measurement::of(&plain),
            speculative: Measurement::of(&speculative),
            identical,
            text: text.unwrap_or_default(),
        })
    }

    fn greedy_tokens(&self, prompt: &Prompt, config: &SpeculativeConfig) -> Result<Vec<u32>> {
        let greedy = SpeculativeConfig {
            temperature: 0.0,
            ..config.clone()
        };
        Ok(self.generate(&self.decoder, prompt, &greedy)?.token_ids())
    }

    fn generate(
        &self,
        decoder: &SpeculativeDecoder,
        prompt: &Prompt,
        config: &SpeculativeConfig,
    ) -> Result<Generation> {
        (self.run)(decoder.stream(prompt.clone(), config)?)
    }
}

impl Measurement {
    fn of(runs: &[Generation]) -> Self {
        let each = |value: fn(&Generation) -> f64| runs.iter().map(value).collect::<Vec<f64>>();
        let sum = |value: fn(&Generation) -> usize| runs.iter().map(value).sum::<usize>();
        let [steps, drafted, accepted, new_tokens] = [
            sum(|run| run.stats.steps),
            sum(|run| run.stats.drafted),
            sum(|run| run.stats.accepted),
            sum(|run| run.stats.new_tokens),
        ];
        Self {
            tokens_per_second: median(each(|run| run.stats.tokens_per_second())),
            decode_seconds: median(each(|run| run.stats.decode.as_secs_f64())),
            draft_seconds: median(each(|run| run.stats.draft.as_secs_f64())),
            verify_seconds: median(each(|run| run.stats.verify.as_secs_f64())),
            latencies: each(|run| (run.stats.prefill + run.stats.decode).as_secs_f64()),
            time_to_first_token: median(each(|run| run.stats.time_to_first_token.as_secs_f64())),
            acceptance_rate: accepted as f64 / drafted.max(1) as f64,
            tokens_per_step: new_tokens as f64 / steps.max(1) as f64,
            steps,
            drafted,
            accepted,
            new_tokens: runs.first().map_or(0, |run| run.stats.new_tokens),
            accepted_lengths: runs
                .first()
                .map(|run| run.stats.accepted_lengths())
                .unwrap_or_default(),
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
