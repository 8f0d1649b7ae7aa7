//! Statistical tests that samples follow a distribution.

use std::collections::HashMap;

use specdec_rs::{Generation, SpeculativeDecoder};

/// The probability, or the count, of each outcome.
pub type Outcomes = HashMap<Vec<u32>, f64>;

/// The ids of a generation's tokens.
pub fn tokens(generation: &Generation) -> Vec<u32> {
    generation.token_ids()
}

/// Probabilities of logits.
pub fn softmax<T: Copy + Into<f64>>(logits: &[T]) -> Vec<f64> {
    let logits = logits.iter().copied().map(Into::into);
    let highest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let weights = logits.map(|logit| (logit - highest).exp());
    let total: f64 = weights.clone().sum();
    weights.map(|weight| weight / total).collect()
}

/// The probability that a token drawn from q is accepted under p (2211.17192).
pub fn overlap(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p.min(*q)).sum()
}

/// The expected number of accepted tokens, by the probability of each.
#[derive(Default)]
pub struct Expected {
    pub tokens: usize,
    pub accepted: f64,
    variance: f64,
}

impl Expected {
    /// Adds a token that is accepted with this probability.
    pub fn add(&mut self, probability: f64) {
        self.tokens += 1;
        self.accepted += probability;
        self.variance += probability * (1.0 - probability);
    }

    /// Fails if `accepted` is four or more standard deviations from the expected number.
    pub fn assert_near(&self, accepted: usize) {
        let (expected, deviation) = (self.accepted, self.variance.sqrt());
        println!(
            "accepted {accepted} of {}, in theory {expected:.1} +- {deviation:.1}",
            self.tokens
        );
        assert!((accepted as f64 - expected).abs() < 4.0 * deviation);
    }
}

/// Counts of the tokens that each seed gives.
pub fn counts(samples: u64, generate: impl Fn(u64) -> Generation) -> Outcomes {
    let mut counts = Outcomes::new();
    for seed in 0..samples {
        *counts.entry(tokens(&generate(seed))).or_default() += 1.0;
    }
    counts
}

/// The exact distribution of continuations of `length` tokens, with top-k sampling at temperature 1.
pub fn exact_distribution(
    decoder: &SpeculativeDecoder,
    prompt: &[u32],
    k: usize,
    length: usize,
) -> Outcomes {
    let mut distribution = Outcomes::from([(Vec::new(), 1.0)]);
    for _ in 0..length {
        let mut longer = Outcomes::new();
        for (prefix, probability) in distribution {
            let ids = [prompt, &prefix].concat();
            let logits = decoder.logits(&ids).unwrap();
            let last = &logits[logits.len() - decoder.sequence().vocab_size()..];
            let mut order: Vec<usize> = (0..last.len()).collect();
            order.sort_by(|a, b| last[*b].total_cmp(&last[*a]));
            let weights: Vec<f64> = order[..k]
                .iter()
                .map(|token| f64::from(last[*token] - last[order[0]]).exp())
                .collect();
            let total: f64 = weights.iter().sum();
            for (token, weight) in order[..k].iter().zip(weights) {
                let extended = [&prefix[..], &[*token as u32]].concat();
                longer.insert(extended, probability * weight / total);
            }
        }
        distribution = longer;
    }
    distribution
}

/// G = 2 sum O ln(O / E), which follows chi-squared with K - 1 degrees of freedom.
pub fn g_statistic(counts: &Outcomes, expected: &Outcomes) -> f64 {
    let samples: f64 = counts.values().sum();
    let terms = counts.iter().map(|(tokens, observed)| {
        let expected = samples * expected.get(tokens).copied().unwrap_or(1e-12);
        observed * (observed / expected).ln()
    });
    2.0 * terms.sum::<f64>()
}

/// The value that chi-squared exceeds with probability 1e-3 (Wilson and Hilferty's approximation).
pub fn critical_value(degrees: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + 3.090 * spread.sqrt()).powi(3)
}
