//! Whether tokens follow the distributions that they should have been drawn from, each from a different one.

use serde::Serialize;

use crate::sampling::{Distribution, NoiseStream};

/// The most bins, which have equal probability.
const MAX_BINS: usize = 16;
/// The fewest tokens per bin; fewer tokens in all make fewer bins.
const MIN_TOKENS_PER_BIN: usize = 20;

/// The p-value below which a test fails: by chance, once in a million tests.
const MIN_P_VALUE: f64 = 1e-6;

/// Collects the quantiles of tokens in their distributions.
///
/// A token's quantile is the probability of all more probable tokens, plus a uniformly random share of its own. If tokens
/// follow their distributions, however these depend on earlier tokens, the quantiles are uniform and independent (the
/// randomized probability integral transform: Dunn and Smyth, 1996).
pub(super) struct Quantiles {
    quantiles: Vec<f64>,
    rng: NoiseStream,
}

/// A chi-squared test that the quantiles of tokens in their distributions are uniform.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Uniformity {
    /// Tokens whose distribution left a choice.
    pub tokens: usize,
    /// Pearson's statistic.
    pub chi_squared: f64,
    /// Its degrees of freedom; 0 if there are too few tokens to tell.
    pub degrees: usize,
    /// The probability of a larger statistic by chance.
    pub p_value: f64,
    /// Total variation distance between the quantiles and the uniform distribution.
    pub total_variation: f64,
    /// The expected total variation distance if tokens follow their distributions.
    pub expected_variation: f64,
    /// Whether chance can explain the statistic: `p_value` is at least one in a million.
    pub holds: bool,
}

impl Quantiles {
    pub(super) fn new(rng: NoiseStream) -> Self {
        Self {
            quantiles: Vec::new(),
            rng,
        }
    }

    /// Adds a token; one whose distribution left no choice is skipped.
    pub(super) fn add(&mut self, token: u32, distribution: &Distribution<'_>) {
        let own = distribution.probability(token);
        if own >= 1.0 {
            return;
        }
        let mut more_probable = 0.0;
        distribution.for_each(|other, p| {
            if p > own || (p >= own && other < token) {
                more_probable += p;
            }
        });
        // A token of probability 0 comes after all others: in the last bin.
        self.quantiles
            .push(more_probable + own * self.rng.uniform());
    }

    pub(super) fn test(&self) -> Uniformity {
        let tokens = self.quantiles.len();
        let bins = (tokens / MIN_TOKENS_PER_BIN).clamp(1, MAX_BINS);
        let mut counts = vec![0; bins];
        for quantile in &self.quantiles {
            counts[((quantile * bins as f64) as usize).min(bins - 1)] += 1;
        }
        let expected = tokens as f64 / bins as f64;
        let deviations = counts.into_iter().map(|count| f64::from(count) - expected);
        let squares: f64 = deviations.clone().map(|deviation| deviation.powi(2)).sum();
        let absolute: f64 = deviations.map(f64::abs).sum();
        let chi_squared = if tokens == 0 { 0.0 } else { squares / expected };
        let degrees = bins - 1;
        let p_value = chi_squared_tail(chi_squared, degrees);
        let total = tokens.max(1) as f64;
        Uniformity {
            tokens,
            chi_squared,
            degrees,
            p_value,
            total_variation: absolute / total / 2.0,
            expected_variation: (degrees as f64 / total / std::f64::consts::TAU).sqrt(),
            holds: p_value >= MIN_P_VALUE,
        }
    }
}

/// The probability that a chi-squared variable exceeds a value: the regularized gamma function Q(degrees / 2, value / 2), by
/// its recurrence.
fn chi_squared_tail(value: f64, degrees: usize) -> f64 {
    let half = value / 2.0;
    if degrees == 0 {
        return 1.0;
    }
    let (mut a, mut q) = match degrees % 2 {
        0 => (1.0, libm::exp(-half)),
        _ => (0.5, libm::erfc(half.sqrt())),
    };
    while a < degrees as f64 / 2.0 {
        q += libm::exp(a * half.ln() - half - libm::lgamma(a + 1.0));
        a += 1.0;
    }
    q.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::{Noise, Rng, Weighted};

    fn distribution(weights: &[f64]) -> Distribution<'static> {
        let entries = (0..).zip(weights.iter().copied()).collect();
        Weighted::new(entries).unwrap().into()
    }

    /// The test of 20,000 tokens drawn from one distribution and added with another.
    fn test_of(drawn: &[f64], claimed: &[f64]) -> Uniformity {
        let noise = Noise::new(5);
        let mut stream = noise.stream(1);
        let mut quantiles = Quantiles::new(noise.stream(2));
        for _ in 0..20_000 {
            quantiles.add(
                stream.categorical(&distribution(drawn)),
                &distribution(claimed),
            );
        }
        quantiles.test()
    }

    #[test]
    fn tokens_of_the_distribution_pass_and_others_fail() {
        let right = test_of(&[5.0, 3.0, 2.0], &[0.5, 0.3, 0.2]);
        assert!(right.holds && right.p_value > 1e-3, "{right:?}");
        assert!(
            right.total_variation < 2.0 * right.expected_variation,
            "{right:?}"
        );
        let wrong = test_of(&[0.55, 0.26, 0.19], &[0.5, 0.3, 0.2]);
        assert!(!wrong.holds, "{wrong:?}");
        assert!((wrong.total_variation - 0.05).abs() < 0.02, "{wrong:?}");
        assert_eq!(right.tokens, 20_000);
    }

    #[test]
    fn tokens_without_a_choice_are_skipped() {
        let test = test_of(&[0.0, 1.0], &[0.0, 1.0]);
        assert_eq!(test.tokens, 0);
        assert!(test.holds);
        assert!(!test_of(&[1.0, 1.0, 1.0], &[1.0, 1.0, 0.0]).holds);
    }

    /// Published critical values.
    #[test]
    fn probabilities_of_chi_squared() {
        for (degrees, value, p) in [
            (1, 3.841, 0.05),
            (2, 9.210, 0.01),
            (15, 24.996, 0.05),
            (15, 37.697, 0.001),
        ] {
            assert!(
                (chi_squared_tail(value, degrees) / p - 1.0).abs() < 1e-3,
                "{degrees}"
            );
        }
        assert!((chi_squared_tail(0.0, 15) - 1.0).abs() < 1e-12);
    }

    /// Empirically: the smallest tests that can fail hardly ever fail by chance.
    #[test]
    fn few_tokens_raise_no_false_alarm() {
        for tokens in [1, 19, 40, 60] {
            let alarms = (0..2000).filter(|seed| {
                let noise = Noise::new(*seed);
                let mut quantiles = Quantiles::new(noise.stream(2));
                let mut stream = noise.stream(1);
                let distribution = distribution(&[5.0, 3.0, 2.0]);
                for _ in 0..tokens {
                    quantiles.add(stream.categorical(&distribution), &distribution);
                }
                quantiles.test().p_value < 1e-4
            });
            assert!(alarms.count() <= 2, "{tokens}");
        }
    }
}
