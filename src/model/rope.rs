//! Rotary position embeddings (Su et al., 2104.09864) and the ways to stretch them.

use std::f64::consts::PI;

/// Which elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Element i with element i + dims / 2 (Hugging Face, GPT-NeoX).
    Halves,
    /// Element 2i with element 2i + 1 (GGUF files of the Llama family).
    Interleaved,
}

/// One rotary embedding: the angle of pair i at position p is `p * frequencies[i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Radians per position, one entry a pair; the rotated dimensions are twice as many.
    pub frequencies: Vec<f64>,
    /// Factor on sine and cosine (YaRN and LongRoPE scale attention through it).
    pub magnitude: f64,
    /// Which elements form a pair.
    pub pairing: Pairing,
}

/// How the frequencies are stretched to contexts longer than those trained on.
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
    /// Each frequency divided by a factor of its own (LongRoPE; `rope_freqs` in GGUF).
    #[allow(missing_docs)]
    PerPair { factors: Vec<f64>, magnitude: f64 },
}

impl Rope {
    /// The rotary embedding of `dims` elements a head with base `theta`.
    pub fn new(dims: usize, theta: f64, scaling: &Scaling, pairing: Pairing) -> Self {
        let base = (0..dims / 2).map(|i| theta.powf(-2.0 * i as f64 / dims as f64));
        let (frequencies, magnitude) = match scaling {
            Scaling::None => (base.collect(), 1.0),
            Scaling::Linear { factor } => (base.map(|f| f / factor).collect(), 1.0),
            Scaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let stretch = |frequency: f64| {
                    let turns = original_context * frequency / (2.0 * PI);
                    let blend = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    let blend = blend.clamp(0.0, 1.0);
                    frequency * (blend + (1.0 - blend) / factor)
                };
                (base.map(stretch).collect(), 1.0)
            }
            Scaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_context,
                attention_factor,
                truncate,
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
                let stretch = |(i, frequency): (usize, f64)| {
                    let stretched = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * (1.0 - stretched) + frequency / factor * stretched
                };
                let magnitude = attention_factor.unwrap_or_else(|| yarn_magnitude(*factor, 1.0));
                (base.enumerate().map(stretch).collect(), magnitude)
            }
            Scaling::PerPair { factors, magnitude } => {
                let stretched = base.zip(factors).map(|(f, factor)| f / factor);
                (stretched.collect(), *magnitude)
            }
        };
        Self {
            frequencies,
            magnitude,
            pairing,
        }
    }

    /// Cosines and sines of one position, a pair each.
    pub fn angles(&self, position: u32) -> impl Iterator<Item = (f32, f32)> + '_ {
        self.frequencies.iter().map(move |frequency| {
            let (sin, cos) = (f64::from(position) * frequency).sin_cos();
            ((cos * self.magnitude) as f32, (sin * self.magnitude) as f32)
        })
    }
}

/// YaRN's attention magnitude for a stretch of `factor`, weighted by `mscale`.
pub fn yarn_magnitude(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * mscale * factor.ln() + 1.0
    }
}
