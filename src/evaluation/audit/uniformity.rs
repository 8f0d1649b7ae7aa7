//! Whether tokens follow the distributions that they should have been drawn from, each from a different one.

mod chi_squared;

use serde::Serialize;

use crate::sampling::{Distribution, NoiseStream};
use chi_squared::{critical_value, noncentrality, tail};

/// The most bins, which have equal probability.
const MAX_BINS: usize = 16;
/// The fewest tokens per bin; fewer tokens in all make fewer bins.
const MIN_TOKENS_PER_BIN: usize = 20;

/// The fewest tokens that can be tested: those of two bins.
pub(super) const MIN_TOKENS: usize = 2 * MIN_TOKENS_PER_BIN;

/// The p-value below which a test fails: by chance, once in a million tests.
const MIN_P_VALUE: f64 = 1e-6;
/// The probability with which a test notices a deviation of [`Uniformity::detectable`].
const POWER: f64 = 0.95;

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
    /// The probability of a larger statistic by chance; 1 if there are too few tokens to tell.
    pub p_value: f64,
    /// Total variation distance between the quantiles and the uniform distribution.
    pub total_variation: f64,
    /// The expected total variation distance if tokens follow their distributions.
    pub expected_variation: f64,
    /// The total variation distance that the test notices with a probability of at least 0.95, however it is spread over the
    /// bins; `None` if there are too few tokens to tell.
    pub detectable: Option<f64>,
    /// Whether chance can explain the statistic: `p_value` is at least one in a million. `None` if that was not tested.
    pub holds: Option<bool>,
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
        let p_value = tail(chi_squared, degrees);
        let total = tokens.max(1) as f64;
        Uniformity {
            tokens,
            chi_squared,
            degrees,
            p_value,
            total_variation: absolute / total / 2.0,
            expected_variation: (degrees as f64 / total / std::f64::consts::TAU).sqrt(),
            detectable: detectable(tokens, bins),
            holds: (degrees > 0).then_some(p_value >= MIN_P_VALUE),
        }
    }
}

/// The total variation distance that a test of so many tokens and bins notices with probability [`POWER`].
///
/// If bins have probabilities q in place of 1 / bins, the statistic follows (for many tokens) the noncentral chi-squared
/// distribution whose noncentrality is tokens * bins * sum((q - 1 / bins)^2). By the Cauchy-Schwarz inequality, that is at
/// least 4 * tokens * TV^2, where TV is the total variation distance sum(|q - 1 / bins|) / 2. No distance is larger than
/// 1 - 1 / bins.
fn detectable(tokens: usize, bins: usize) -> Option<f64> {
    let degrees = bins - 1;
    if degrees == 0 {
        return None;
    }
    let critical = critical_value(MIN_P_VALUE, degrees);
    let needed = noncentrality(critical, degrees, POWER);
    let distance = (needed / (4.0 * tokens as f64)).sqrt();
    Some(distance.min(1.0 - 1.0 / bins as f64))
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
        assert!(
            right.holds == Some(true) && right.p_value > 1e-3,
            "{right:?}"
        );
        assert!(
            right.total_variation < 2.0 * right.expected_variation,
            "{right:?}"
        );
        let wrong = test_of(&[0.55, 0.26, 0.19], &[0.5, 0.3, 0.2]);
        assert_eq!(wrong.holds, Some(false), "{wrong:?}");
        assert!((wrong.total_variation - 0.05).abs() < 0.02, "{wrong:?}");
        assert_eq!(right.tokens, 20_000);
    }

    #[test]
    fn tokens_without_a_choice_are_skipped() {
        let test = test_of(&[0.0, 1.0], &[0.0, 1.0]);
        assert_eq!((test.tokens, test.holds, test.detectable), (0, None, None));
        let impossible = test_of(&[1.0, 1.0, 1.0], &[1.0, 1.0, 0.0]);
        assert_eq!(impossible.holds, Some(false));
    }

    /// The test of tokens whose quantiles lie in the lower half with this probability.
    fn test_of_halves(lower: f64, tokens: usize, seed: u64) -> Uniformity {
        let noise = Noise::new(seed);
        let mut stream = noise.stream(1);
        let mut quantiles = Quantiles::new(noise.stream(2));
        for _ in 0..tokens {
            let token = stream.categorical(&distribution(&[lower, 1.0 - lower]));
            quantiles.add(token, &distribution(&[0.5, 0.5]));
        }
        quantiles.test()
    }

    /// Empirically: a deviation of `detectable` is noticed with the probability that is claimed, and half of it is not.
    #[test]
    fn what_is_detectable_is_noticed() {
        for tokens in [80, 640] {
            let detectable = test_of_halves(0.5, tokens, 0).detectable.unwrap();
            let noticed = |distance: f64| {
                let tests = (0..400).map(|seed| test_of_halves(0.5 + distance, tokens, seed));
                tests.filter(|test| test.holds == Some(false)).count()
            };
            assert!(
                noticed(detectable) >= 370,
                "{tokens}: {}",
                noticed(detectable)
            );
            assert!(
                noticed(detectable / 2.0) <= 100,
                "{tokens}: {}",
                noticed(detectable / 2.0)
            );
        }
    }

    #[test]
    fn too_few_tokens_test_nothing() {
        let few = test_of_halves(0.5, MIN_TOKENS - 1, 1);
        assert_eq!((few.degrees, few.holds, few.detectable), (0, None, None));
        let enough = test_of_halves(0.5, MIN_TOKENS, 1);
        assert_eq!((enough.degrees, enough.holds), (1, Some(true)));
        // Two bins can't deviate by more, and that much is noticed.
        assert_eq!(enough.detectable, Some(0.5));
        assert_eq!(test_of_halves(1.0, MIN_TOKENS, 1).holds, Some(false));
    }

    #[test]
    fn more_tokens_detect_less() {
        let detectable = |tokens| test_of_halves(0.5, tokens, 2).detectable.unwrap();
        // 64 tokens make 3 bins, 6400 make 16: about 3.5 / sqrt(64) and 4.2 / sqrt(6400).
        assert!((detectable(64) - 0.43).abs() < 0.01, "{}", detectable(64));
        assert!(
            (detectable(6400) - 0.052).abs() < 0.002,
            "{}",
            detectable(6400)
        );
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
