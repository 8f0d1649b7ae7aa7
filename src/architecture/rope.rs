//! The ways to stretch rotary embeddings to contexts longer than those trained on.

use std::f64::consts::PI;

use crate::backend::{Pairing, Rope, Stretched};

/// How the frequencies of a rotary embedding are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// As trained.
    None,
    /// All frequencies divided by a factor (Chen et al., 2306.15595).
    #[allow(missing_docs)]
    Linear { factor: f64 },
    /// Llama 3.1: low frequencies divided, high ones kept, those between blended.
    #[allow(missing_docs)]
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: f64,
    },
    /// YaRN (Peng et al., 2309.00071): blended by the number of turns in the original context.
    #[allow(missing_docs)]
    Yarn {
        factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        original_context: f64,
        /// Factor on sine and cosine; `None`: YaRN's own `0.1 ln(factor) + 1`.
        attention_factor: Option<f64>,
        /// Whether the blend's bounds are rounded to whole dimensions.
        truncate: bool,
    },
    /// As trained, for a share of the head's pairs; the others stand still (Gemma 4).
    #[allow(missing_docs)]
    Proportional { fraction: f64 },
    /// Each frequency divided by a factor of its own (LongRoPE; `rope_freqs` in GGUF).
    #[allow(missing_docs)]
    PerPair {
        factors: Vec<f64>,
        magnitude: f64,
        /// Other factors for texts of more than so many tokens.
        beyond: Option<(usize, Vec<f64>)>,
    },
}

impl Scaling {
    /// The rotary embedding of `dims` elements a head with base `theta`.
    pub fn rope(&self, dims: usize, theta: f64, pairing: Pairing) -> Rope {
        let pair = |i: usize| theta.powf(-2.0 * i as f64 / dims as f64);
        let trained: Vec<f64> = (0..dims / 2).map(pair).collect();
        let stretched = match self {
            Self::PerPair {
                beyond: Some((beyond, factors)),
                ..
            } => Some(Stretched {
                beyond: *beyond,
                frequencies: divided(&trained, factors),
            }),
            _ => None,
        };
        Rope {
            frequencies: self.stretch(trained, dims, theta),
            magnitude: self.magnitude(),
            pairing,
            stretched,
            growth: None,
        }
    }

    fn stretch(&self, trained: Vec<f64>, dims: usize, theta: f64) -> Vec<f64> {
        match self {
            Self::None => trained,
            Self::Linear { factor } => trained.iter().map(|f| f / factor).collect(),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let stretch = |frequency: &f64| {
                    let turns = original_context * frequency / (2.0 * PI);
                    let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    blend(*frequency, *factor, 1.0 - kept)
                };
                trained.iter().map(stretch).collect()
            }
            Self::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_context,
                truncate,
                ..
            } => {
                // The (fractional) pair that turns `turns` times over the original context.
                let pair_of = |turns: f64| {
                    dims as f64 * (original_context / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln())
                };
                let (mut low, mut high) = (pair_of(*beta_fast), pair_of(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let low = low.max(0.0);
                let high = high.min(dims as f64 - 1.0).max(low + 0.001);
                let stretch = |(i, frequency): (usize, &f64)| {
                    blend(*frequency, *factor, (i as f64 - low) / (high - low))
                };
                trained.iter().enumerate().map(stretch).collect()
            }
            Self::Proportional { fraction } => {
                let turning = (fraction * dims as f64 / 2.0) as usize;
                let pairs = trained.into_iter().enumerate();
                pairs
                    .map(|(pair, frequency)| if pair < turning { frequency } else { 0.0 })
                    .collect()
            }
            Self::PerPair { factors, .. } => divided(&trained, factors),
        }
    }

    fn magnitude(&self) -> f64 {
        match self {
            Self::None | Self::Linear { .. } | Self::Llama3 { .. } | Self::Proportional { .. } => {
                1.0
            }
            Self::Yarn {
                factor,
                attention_factor,
                ..
            } => attention_factor.unwrap_or_else(|| yarn_magnitude(*factor, 1.0)),
            Self::PerPair { magnitude, .. } => *magnitude,
        }
    }
}

/// Each frequency divided by its own factor.
fn divided(frequencies: &[f64], factors: &[f64]) -> Vec<f64> {
    let pairs = frequencies.iter().zip(factors);
    pairs
        .map(|(frequency, factor)| frequency / factor)
        .collect()
}

/// A frequency divided by `factor` to a share of `stretched` (0 to 1).
fn blend(frequency: f64, factor: f64, stretched: f64) -> f64 {
    let stretched = stretched.clamp(0.0, 1.0);
    frequency * (1.0 - stretched) + frequency / factor * stretched
}

/// YaRN's attention magnitude for a stretch of `factor`, weighted by `mscale`.
pub fn yarn_magnitude(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * mscale * factor.ln() + 1.0
    }
}

/// LongRoPE's attention magnitude for a context stretched from `original` tokens.
pub fn longrope_magnitude(context_length: f64, original: f64) -> f64 {
    let stretch = context_length / original;
    if stretch <= 1.0 {
        1.0
    } else {
        (1.0 + stretch.ln() / original.ln()).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scaling: &Scaling, theta: f64, frequencies: [f64; 8], magnitude: f64) {
        let rope = scaling.rope(16, theta, Pairing::Halves);
        assert_eq!(rope.frequencies.len(), 8);
        for (found, expected) in rope.frequencies.iter().zip(frequencies) {
            let difference = (found / expected - 1.0).abs();
            assert!(difference < 1e-6, "{scaling:?}: {found} for {expected}");
        }
        assert!((rope.magnitude - magnitude).abs() < 1e-9, "{scaling:?}");
    }

    /// What `ROPE_INIT_FUNCTIONS` of transformers 5.23 compute (in f32) for heads of 16 elements.
    #[test]
    #[rustfmt::skip]
    #[allow(clippy::unreadable_literal, reason = "as they were printed")]
    fn scalings_are_transformers_own() {
        check(
            &Scaling::Linear { factor: 4.0 }, 1e4,
            [0.25, 0.079056941, 0.0250000004, 0.00790569466, 0.0025, 0.000790569466, 0.00025, 7.90569466e-05],
            1.0,
        );
        let llama3 = Scaling::Llama3 {
            factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 512.0,
        };
        check(
            &llama3, 5e5,
            [1.0, 0.193922758, 0.0273441337, 0.000911583134, 0.000176776681, 3.42810235e-05, 6.64786967e-06, 1.28917316e-06],
            1.0,
        );
        let yarn = Scaling::Yarn {
            factor: 4.0, beta_fast: 32.0, beta_slow: 1.0, original_context: 1024.0, attention_factor: None, truncate: true,
        };
        check(
            &yarn, 1e4,
            [1.0, 0.316227764, 0.0812500045, 0.0197642371, 0.00437500002, 0.000790569466, 0.00025, 7.90569466e-05],
            1.138629436111989,
        );
        let untruncated = Scaling::Yarn {
            factor: 40.0, beta_fast: 16.0, beta_slow: 2.0, original_context: 4096.0,
            attention_factor: Some(yarn_magnitude(40.0, 1.0) / yarn_magnitude(40.0, 0.5)), truncate: false,
        };
        check(
            &untruncated, 1e4,
            [1.0, 0.316227764, 0.1, 0.0316227786, 0.00579010462, 0.000123952457, 2.5e-05, 7.90569447e-06],
            1.1557219901962608,
        );
        let longrope = Scaling::PerPair {
            factors: (0..8).map(|pair| 2.0 + 0.5 * f64::from(pair)).collect(), magnitude: 1.5, beyond: None,
        };
        check(
            &longrope, 1e4,
            [0.5, 0.126491114, 0.0333333351, 0.00903507881, 0.0025, 0.000702728401, 0.0002, 5.74959558e-05],
            1.5,
        );
    }
}
