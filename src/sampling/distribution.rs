//! A distribution over tokens, after all processors.

use std::borrow::Cow;
use std::cell::OnceCell;

/// The probabilities of the next token.
#[derive(Debug, Clone)]
pub enum Distribution<'a> {
    /// One token with probability 1: greedy decoding, and drafts without alternatives.
    Point(u32),
    /// softmax(logits / temperature), over the whole vocabulary.
    Softmax(Softmax<'a>),
    /// Some tokens, each with a weight.
    Weighted(Weighted),
}

/// The softmax over all tokens at a temperature. The sum of the weights is computed only if it is needed.
#[derive(Debug, Clone)]
pub struct Softmax<'a> {
    logits: Cow<'a, [f32]>,
    highest: f32,
    inverse_temperature: f64,
    total: OnceCell<f64>,
}

/// Tokens by ascending id, with weights that need not sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighted {
    entries: Vec<(u32, f64)>,
    total: f64,
}

impl<'a> Softmax<'a> {
    /// `highest` is the largest of the logits; others may be NaN, which stands for probability 0.
    pub(super) fn new(logits: Cow<'a, [f32]>, highest: f32, temperature: f64) -> Self {
        Self {
            logits,
            highest,
            inverse_temperature: temperature.recip(),
            total: OnceCell::new(),
        }
    }

    pub(super) fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The logarithm of a logit's weight; the largest is 0.
    pub(super) fn score(&self, logit: f32) -> f64 {
        f64::from(logit - self.highest) * self.inverse_temperature
    }

    fn weight(&self, logit: f32) -> f64 {
        // `max` turns NaN, the weight of a NaN logit, into 0.
        libm::exp(self.score(logit)).max(0.0)
    }

    fn total(&self) -> f64 {
        let sum = || self.logits.iter().map(|logit| self.weight(*logit)).sum();
        *self.total.get_or_init(sum)
    }
}

impl Weighted {
    /// `None` if no weight is positive. The tokens must be in ascending order.
    pub fn new(mut entries: Vec<(u32, f64)>) -> Option<Self> {
        debug_assert!(entries.is_sorted_by_key(|entry| entry.0));
        entries.retain(|entry| entry.1 > 0.0);
        let total: f64 = entries.iter().map(|entry| entry.1).sum();
        (total > 0.0).then_some(Self { entries, total })
    }

    /// The tokens and their weights.
    pub fn entries(&self) -> &[(u32, f64)] {
        &self.entries
    }
}

impl From<Weighted> for Distribution<'_> {
    fn from(distribution: Weighted) -> Self {
        match distribution.entries[..] {
            [(token, _)] => Self::Point(token),
            _ => Self::Weighted(distribution),
        }
    }
}

impl Distribution<'_> {
    /// The probability of a token; 0 for a token outside the distribution.
    pub fn probability(&self, token: u32) -> f64 {
        match self {
            Self::Point(certain) => f64::from(u8::from(*certain == token)),
            Self::Softmax(all) => {
                let logit = all.logits.get(token as usize);
                logit.map_or(0.0, |logit| all.weight(*logit) / all.total())
            }
            Self::Weighted(some) => {
                let found = some.entries.binary_search_by_key(&token, |entry| entry.0);
                found.map_or(0.0, |index| some.entries[index].1 / some.total)
            }
        }
    }

    /// The logarithm of a token's unnormalized weight; `None` for a token outside the distribution.
    pub fn log_weight(&self, token: u32) -> Option<f64> {
        match self {
            Self::Point(certain) => (*certain == token).then_some(0.0),
            Self::Softmax(all) => all
                .logits
                .get(token as usize)
                .map(|logit| all.score(*logit)),
            Self::Weighted(some) => {
                let found = some.entries.binary_search_by_key(&token, |entry| entry.0);
                found.ok().map(|index| libm::log(some.entries[index].1))
            }
        }
    }

    /// Calls `visit` with every token of positive probability, by ascending id.
    pub fn for_each(&self, mut visit: impl FnMut(u32, f64)) {
        match self {
            Self::Point(token) => visit(*token, 1.0),
            Self::Softmax(all) => {
                for (token, logit) in (0..).zip(all.logits.iter()) {
                    let weight = all.weight(*logit);
                    if weight > 0.0 {
                        visit(token, weight / all.total());
                    }
                }
            }
            Self::Weighted(some) => {
                for (token, weight) in &some.entries {
                    visit(*token, weight / some.total);
                }
            }
        }
    }

    /// The excess of `share` times this distribution, p, over another, q: the sum Z of `[share p - q]+`, and the normalized
    /// excess; `None` if there is no excess.
    ///
    /// With a share of 1 it is the distribution to draw from after a draft from q was rejected (2211.17192).
    #[must_use]
    pub fn beyond(
        &self,
        share: f64,
        other: &Distribution<'_>,
    ) -> (f64, Option<Distribution<'static>>) {
        let mut entries = Vec::new();
        self.for_each(|token, p| {
            let left = share * p - other.probability(token);
            if left > 0.0 {
                entries.push((token, left));
            }
        });
        match Weighted::new(entries) {
            Some(distribution) => (distribution.total, Some(distribution.into())),
            None => (0.0, None),
        }
    }

    /// This distribution given that the token is not `token`; `None` if no other is possible.
    #[must_use]
    pub fn without(&self, token: u32) -> Option<Distribution<'static>> {
        self.beyond(1.0, &Distribution::Point(token)).1
    }

    /// The same distribution, with logits of its own.
    pub fn into_owned(self) -> Distribution<'static> {
        match self {
            Self::Point(token) => Distribution::Point(token),
            Self::Weighted(some) => Distribution::Weighted(some),
            Self::Softmax(all) => Distribution::Softmax(Softmax {
                logits: Cow::Owned(all.logits.into_owned()),
                ..all
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighted(entries: &[(u32, f64)]) -> Distribution<'static> {
        Weighted::new(entries.to_vec()).unwrap().into()
    }

    fn softmax(probabilities: &[f64]) -> Distribution<'static> {
        let logits: Vec<f32> = probabilities.iter().map(|p| p.ln() as f32).collect();
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Distribution::Softmax(Softmax::new(logits.into(), highest, 1.0))
    }

    #[test]
    fn the_excess_is_normalized() {
        let p = softmax(&[0.5, 0.3, 0.2]);
        let q = weighted(&[(0, 1.0), (2, 9.0)]);
        let (excess, distribution) = p.beyond(1.0, &q);
        let distribution = distribution.unwrap();
        assert!((excess - 0.7).abs() < 1e-6);
        assert!((distribution.probability(0) - 4.0 / 7.0).abs() < 1e-6);
        assert!((distribution.probability(1) - 3.0 / 7.0).abs() < 1e-6);
        assert!(distribution.probability(2).abs() < 1e-6);
        let (half, distribution) = p.beyond(0.5, &q);
        assert!((half - 0.3).abs() < 1e-6);
        assert!((distribution.unwrap().probability(0) - 0.5).abs() < 1e-6);
        assert!(p.beyond(1.0, &p).1.is_none());
    }

    #[test]
    fn unknown_tokens_have_no_probability() {
        for distribution in [
            Distribution::Point(3),
            softmax(&[1.0]),
            weighted(&[(3, 1.0), (4, 1.0)]),
        ] {
            assert!(distribution.probability(9) <= 0.0);
        }
        assert!(Weighted::new(vec![(1, 0.0)]).is_none());
    }

    #[test]
    fn weights_are_relative() {
        let distribution = weighted(&[(1, 3.0), (2, 0.0), (5, 1.0)]);
        let mut seen = Vec::new();
        distribution.for_each(|token, probability| seen.push((token, probability)));
        assert_eq!(seen, [(1, 0.75), (5, 0.25)]);
    }
}
