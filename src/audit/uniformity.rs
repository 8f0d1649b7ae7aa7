//! Whether tokens follow the laws that they should have been drawn from, each of them another one.

use serde::Serialize;

use crate::sampling::{Distribution, NoiseStream};

/// Bins of equal probability.
const BINS: usize = 16;

/// What chance alone exceeds once in a million tests.
const BELIEVABLE: f64 = 1e-6;

/// Collects tokens with their laws.
///
/// A token's place in its law is the probability of the likelier tokens, and a uniformly chosen part of its own. If tokens
/// follow their laws, whatever they depend on, the places are uniform and independent (the randomized probability integral
/// transform: Dunn and Smyth, 1996).
pub(super) struct Places {
    counts: [usize; BINS],
    chance: NoiseStream,
}

/// A chi-squared test of the places of tokens in their laws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Uniformity {
    /// Tokens whose law left a choice.
    pub tokens: usize,
    /// Pearson's statistic.
    pub chi_squared: f64,
    /// Its degrees of freedom.
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
            counts: [0; BINS],
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
        let place = likelier + own * self.chance.uniform();
        self.counts[((place * BINS as f64) as usize).min(BINS - 1)] += 1;
    }

    pub(super) fn test(&self) -> Uniformity {
        let tokens: usize = self.counts.iter().sum();
        let expected = tokens as f64 / BINS as f64;
        let deviations = self.counts.map(|count| count as f64 - expected);
        let squares: f64 = deviations.iter().map(|deviation| deviation.powi(2)).sum();
        let absolute: f64 = deviations.iter().map(|deviation| deviation.abs()).sum();
        let chi_squared = if tokens == 0 { 0.0 } else { squares / expected };
        let degrees = BINS - 1;
        let p_value = exceeding(chi_squared, degrees as f64);
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

/// The probability that chi-squared exceeds a value (Wilson and Hilferty's approximation, good to a few percent of it).
fn exceeding(value: f64, degrees: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees);
    let normal = ((value / degrees).cbrt() - (1.0 - spread)) / spread.sqrt();
    libm::erfc(normal / std::f64::consts::SQRT_2) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::{Chance, Noise, Weighted};

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

    /// Published critical values: 5 % and 0.1 % with 15 degrees of freedom.
    #[test]
    fn probabilities_of_chi_squared() {
        assert!((exceeding(24.996, 15.0) / 0.05 - 1.0).abs() < 0.02);
        assert!((exceeding(37.697, 15.0) / 0.001 - 1.0).abs() < 0.05);
    }
}
