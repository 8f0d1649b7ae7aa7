//! Whether tokens follow the laws that they should have been drawn from, each of them another one.

use serde::Serialize;

use crate::sampling::{Distribution, NoiseStream};

/// Bins of equal probability: as many as leave so many tokens for each.
const MOST_BINS: usize = 16;
const TOKENS_A_BIN: usize = 20;

/// What chance alone exceeds once in a million tests.
const BELIEVABLE: f64 = 1e-6;

/// Collects tokens with their laws.
///
/// A token's place in its law is the probability of the likelier tokens, and a uniformly chosen part of its own. If tokens
/// follow their laws, whatever they depend on, the places are uniform and independent (the randomized probability integral
/// transform: Dunn and Smyth, 1996).
pub(super) struct Places {
    places: Vec<f64>,
    chance: NoiseStream,
}

/// A chi-squared test of the places of tokens in their laws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Uniformity {
    /// Tokens whose law left a choice.
    pub tokens: usize,
    /// Pearson's statistic.
    pub chi_squared: f64,
    /// Its degrees of freedom; 0: too few tokens to tell.
    pub degrees: usize,
    /// The probability of a larger statistic by chance.
    pub p_value: f64,
    /// Total variation between the places and uniformity.
    pub total_variation: f64,
    /// What it would be by chance, on average.
    pub expected_variation: f64,
    /// Whether chance can explain it: `p_value` is at least one in a million.
    pub holds: bool,
}

impl Places {
    pub(super) fn new(chance: NoiseStream) -> Self {
        Self {
            places: Vec::new(),
            chance,
        }
    }

    /// Enters a token; one that its law leaves no choice says nothing.
    pub(super) fn enter(&mut self, token: u32, law: &Distribution<'_>) {
        let own = law.probability(token);
        if own >= 1.0 {
            return;
        }
        let mut likelier = 0.0;
        law.for_each(|other, p| {
            if p > own || (p >= own && other < token) {
                likelier += p;
            }
        });
        // A token that can't be lies behind all others: in the last bin.
        self.places.push(likelier + own * self.chance.uniform());
    }

    pub(super) fn test(&self) -> Uniformity {
        let tokens = self.places.len();
        let bins = (tokens / TOKENS_A_BIN).clamp(1, MOST_BINS);
        let mut counts = vec![0; bins];
        for place in &self.places {
            counts[((place * bins as f64) as usize).min(bins - 1)] += 1;
        }
        let expected = tokens as f64 / bins as f64;
        let deviations = counts.into_iter().map(|count| f64::from(count) - expected);
        let squares: f64 = deviations.clone().map(|deviation| deviation.powi(2)).sum();
        let absolute: f64 = deviations.map(f64::abs).sum();
        let chi_squared = if tokens == 0 { 0.0 } else { squares / expected };
        let degrees = bins - 1;
        let p_value = exceeding(chi_squared, degrees);
        let total = tokens.max(1) as f64;
        Uniformity {
            tokens,
            chi_squared,
            degrees,
            p_value,
            total_variation: absolute / total / 2.0,
            expected_variation: (degrees as f64 / total / std::f64::consts::TAU).sqrt(),
            holds: p_value >= BELIEVABLE,
        }
    }
}

/// The probability that chi-squared exceeds a value: the regularized gamma function Q(degrees / 2, value / 2), by its
/// recurrence.
fn exceeding(value: f64, degrees: usize) -> f64 {
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

    fn law(weights: &[f64]) -> Distribution<'static> {
        let entries = (0..).zip(weights.iter().copied()).collect();
        Weighted::new(entries).unwrap().into()
    }

    /// The test of 20,000 tokens drawn from one law and entered with another.
    fn test_of(drawn: &[f64], entered: &[f64]) -> Uniformity {
        let noise = Noise::new(5);
        let mut stream = noise.stream(1);
        let mut places = Places::new(noise.stream(2));
        for _ in 0..20_000 {
            places.enter(stream.categorical(&law(drawn)), &law(entered));
        }
        places.test()
    }

    #[test]
    fn tokens_of_the_law_are_believed_and_others_are_not() {
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
    fn a_token_without_a_choice_says_nothing() {
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
                (exceeding(value, degrees) / p - 1.0).abs() < 1e-3,
                "{degrees}"
            );
        }
        assert!((exceeding(0.0, 15) - 1.0).abs() < 1e-12);
    }

    /// By trying: the smallest tests that give a verdict find hardly anything by chance.
    #[test]
    fn few_tokens_make_no_false_alarm() {
        for tokens in [1, 19, 40, 60] {
            let alarms = (0..2000).filter(|seed| {
                let noise = Noise::new(*seed);
                let mut places = Places::new(noise.stream(2));
                let mut stream = noise.stream(1);
                let law = law(&[5.0, 3.0, 2.0]);
                for _ in 0..tokens {
                    places.enter(stream.categorical(&law), &law);
                }
                places.test().p_value < 1e-4
            });
            assert!(alarms.count() <= 2, "{tokens}");
        }
    }
}
