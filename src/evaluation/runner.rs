//! Runs requests with and without speculation, and adds up what the runs report.
//!
//! A [`Runner`] runs one request: [`Runner::baseline`] without drafts, [`Runner::generate`] as configured,
//! [`Runner::pair`] both, back to back. [`Totals`] sums any number of runs and gives their rates.

use std::iter::Sum;
use std::ops::AddAssign;

use crate::decoder::{Prompt, SpeculativeDecoder, Stream};
use crate::engine::{Generation, Stats};
use crate::error::{Error, Result};
use crate::settings::{DraftKind, SpeculativeConfig};

/// Runs one request to its end: [`Stream::run`], or a caller's function that also counts or can be interrupted.
pub(super) type Run<'a> = dyn Fn(Stream) -> Result<Generation> + 'a;

/// Runs requests with and without speculation.
#[derive(Clone, Copy)]
pub(super) struct Runner<'a> {
    run: &'a Run<'a>,
}

/// Which of a pair runs first: whatever the second run finds warm must not favour one side only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Baseline,
    Speculative,
}

/// One request, run both ways.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) baseline: Generation,
    pub(super) speculative: Generation,
}

impl<'a> Runner<'a> {
    pub(super) fn new(run: &'a Run<'a>) -> Self {
        Self { run }
    }

    /// Runs a request as `config` says. It prefills the whole prompt: times to the first token are compared.
    pub(super) fn generate(
        self,
        decoder: &SpeculativeDecoder,
        prompt: &Prompt,
        config: &SpeculativeConfig,
    ) -> Result<Generation> {
        let decoder = decoder.without_prefix_cache();
        (self.run)(decoder.stream(prompt.clone(), config)?)
    }

    /// Runs a request without speculation.
    pub(super) fn baseline(
        self,
        decoder: &SpeculativeDecoder,
        prompt: &Prompt,
        config: &SpeculativeConfig,
    ) -> Result<Generation> {
        let config = SpeculativeConfig {
            draft: Some(DraftKind::NONE),
            ..config.clone()
        };
        self.generate(decoder, prompt, &config)
    }

    /// Runs a request both ways, back to back.
    pub(super) fn pair(
        self,
        decoder: &SpeculativeDecoder,
        prompt: &Prompt,
        config: &SpeculativeConfig,
        first: First,
    ) -> Result<Pair> {
        let baseline = || self.baseline(decoder, prompt, config);
        let speculative = || self.generate(decoder, prompt, config);
        let (baseline, speculative) = match first {
            First::Baseline => (baseline()?, speculative()?),
            First::Speculative => {
                let speculative = speculative()?;
                (baseline()?, speculative)
            }
        };
        Ok(Pair {
            baseline,
            speculative,
        })
    }
}

impl Pair {
    /// Whether both ways gave the same tokens.
    pub(super) fn identical(&self) -> bool {
        self.baseline.token_ids() == self.speculative.token_ids()
    }

    /// Speculative over baseline tokens per second.
    pub(super) fn speedup(&self) -> f64 {
        self.speculative.stats.tokens_per_second() / self.baseline.stats.tokens_per_second()
    }
}

/// What several generations did together, prefill left out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Totals {
    pub(crate) new_tokens: usize,
    /// Forward passes of the target that decoded.
    pub(crate) steps: usize,
    pub(crate) drafted: usize,
    pub(crate) accepted: usize,
    pub(crate) decode_seconds: f64,
}

impl Totals {
    /// New tokens per second of decoding.
    pub(super) fn tokens_per_second(&self) -> f64 {
        self.new_tokens as f64 / self.decode_seconds
    }

    /// New tokens per forward pass of the target.
    pub(super) fn tokens_per_step(&self) -> f64 {
        self.new_tokens as f64 / self.steps.max(1) as f64
    }

    /// Share of the drafted tokens that were accepted.
    pub(super) fn acceptance_rate(&self) -> f64 {
        self.accepted as f64 / self.drafted.max(1) as f64
    }
}

impl From<&Stats> for Totals {
    fn from(stats: &Stats) -> Self {
        Self {
            new_tokens: stats.new_tokens,
            steps: stats.steps,
            drafted: stats.drafted,
            accepted: stats.accepted,
            decode_seconds: stats.decode.as_secs_f64(),
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.new_tokens += other.new_tokens;
        self.steps += other.steps;
        self.drafted += other.drafted;
        self.accepted += other.accepted;
        self.decode_seconds += other.decode_seconds;
    }
}

impl Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, totals| {
            sum += totals;
            sum
        })
    }
}

/// Adds counts by position to others, of which there may be fewer or more.
pub(super) fn add_counts(sums: &mut Vec<usize>, counts: &[usize]) {
    sums.resize(sums.len().max(counts.len()), 0);
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}

/// Refuses requests that have nothing to compare.
pub(super) fn check(prompts: usize, config: &SpeculativeConfig) -> Result<()> {
    if prompts == 0 {
        return Err(Error::invalid("prompts", "[]", "at least one prompt"));
    }
    if config.max_new_tokens == 0 {
        return Err(Error::invalid("max_new_tokens", 0, "an integer >= 1"));
    }
    Ok(())
}

/// The smallest and the largest value.
pub(super) fn range(values: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
    [
        values.clone().fold(f64::INFINITY, f64::min),
        values.fold(0.0, f64::max),
    ]
}

/// The middle value; the mean of the two middle ones if their number is even, 0 if there are none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_and_give_rates() {
        let parts = [
            Totals {
                new_tokens: 6,
                steps: 2,
                drafted: 8,
                accepted: 4,
                decode_seconds: 0.5,
            },
            Totals {
                new_tokens: 4,
                steps: 3,
                drafted: 2,
                accepted: 1,
                decode_seconds: 1.5,
            },
        ];
        let sum: Totals = parts.into_iter().sum();
        assert_eq!(
            (sum.new_tokens, sum.steps, sum.drafted, sum.accepted),
            (10, 5, 10, 5)
        );
        assert!((sum.tokens_per_second() - 5.0).abs() < 1e-12);
        assert!((sum.tokens_per_step() - 2.0).abs() < 1e-12);
        assert!((sum.acceptance_rate() - 0.5).abs() < 1e-12);
        // Nothing drafted, no step: rates of 0, not NaN.
        assert!(Totals::default().acceptance_rate().abs() < 1e-12);
        assert!(Totals::default().tokens_per_step().abs() < 1e-12);
    }

    #[test]
    fn counts_of_different_lengths_add_up() {
        let mut sums = vec![1, 2];
        add_counts(&mut sums, &[1, 1, 1]);
        add_counts(&mut sums, &[5]);
        assert_eq!(sums, [7, 3, 1]);
    }

    #[test]
    fn medians() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-12);
        assert!(median(Vec::new()).abs() < 1e-12);
    }
}
