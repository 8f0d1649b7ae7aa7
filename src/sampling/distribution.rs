//! A law over tokens, after every processor.

/// Probabilities of tokens; they sum to 1 up to rounding.
#[derive(Debug, Clone, PartialEq)]
pub enum Distribution {
    /// One token, for certain: greedy decoding, and drafts without alternatives.
    Point(u32),
    /// A probability for each token of the vocabulary.
    Dense(Vec<f32>),
    /// The tokens that a filter left, by ascending id.
    Sparse(Vec<(u32, f32)>),
}

impl Distribution {
    /// The probability of a token; 0 for one that the law doesn't know.
    pub fn probability(&self, token: u32) -> f32 {
        match self {
            Self::Point(certain) => f32::from(u8::from(*certain == token)),
            Self::Dense(all) => all.get(token as usize).copied().unwrap_or(0.0),
            Self::Sparse(some) => some
                .binary_search_by_key(&token, |entry| entry.0)
                .map_or(0.0, |index| some[index].1),
        }
    }

    /// Calls `visit` with every token of positive probability, by ascending id.
    pub fn for_each(&self, mut visit: impl FnMut(u32, f32)) {
        match self {
            Self::Point(token) => visit(*token, 1.0),
            Self::Dense(all) => {
                for (token, probability) in all.iter().enumerate().filter(|entry| *entry.1 > 0.0) {
                    visit(token as u32, *probability);
                }
            }
            Self::Sparse(some) => {
                for (token, probability) in some.iter().filter(|entry| entry.1 > 0.0) {
                    visit(*token, *probability);
                }
            }
        }
    }

    /// What this law has beyond another, `norm([p - q]+)`; `None` where it has nothing.
    ///
    /// This is the law to draw from after a draft from `other` was rejected (2211.17192).
    #[must_use]
    pub fn residual(&self, other: &Self) -> Option<Self> {
        let mut beyond = Vec::new();
        self.for_each(|token, p| {
            let left = p - other.probability(token);
            if left > 0.0 {
                beyond.push((token, left));
            }
        });
        let total: f64 = beyond.iter().map(|entry| f64::from(entry.1)).sum();
        if total <= 0.0 {
            return None;
        }
        for entry in &mut beyond {
            entry.1 = (f64::from(entry.1) / total) as f32;
        }
        Some(Self::Sparse(beyond))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residual_is_the_normalized_excess() {
        let p = Distribution::Dense(vec![0.5, 0.3, 0.2]);
        let q = Distribution::Sparse(vec![(0, 0.1), (2, 0.9)]);
        let residual = p.residual(&q).unwrap();
        assert!((residual.probability(0) - 4.0 / 7.0).abs() < 1e-6);
        assert!((residual.probability(1) - 3.0 / 7.0).abs() < 1e-6);
        assert!(residual.probability(2).abs() < 1e-6);
        assert_eq!(p.residual(&p), None);
    }

    #[test]
    fn unknown_tokens_have_no_probability() {
        for law in [
            Distribution::Point(3),
            Distribution::Dense(vec![1.0]),
            Distribution::Sparse(vec![(3, 1.0)]),
        ] {
            assert!(law.probability(9) <= 0.0);
        }
    }
}
