//! Rotary position embeddings (Su et al., 2104.09864).

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
    /// Other frequencies for all of a text that is longer than those trained on (LongRoPE, 2402.13753).
    pub stretched: Option<Stretched>,
    /// By how much queries grow with their positions (Ministral 3).
    pub growth: Option<QueryGrowth>,
}

/// Queries at position p are multiplied by `1 + beta * ln(1 + floor(p / length))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryGrowth {
    /// How fast they grow.
    pub beta: f64,
    /// Tokens in which they don't.
    pub length: usize,
}

/// The frequencies of a text of more than so many tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretched {
    /// The most tokens of a text that the other frequencies are for.
    pub beyond: usize,
    /// Radians per position, one entry a pair.
    pub frequencies: Vec<f64>,
}

impl Rope {
    /// The factor on the queries of one position.
    pub fn query_factor(&self, position: usize) -> f32 {
        self.growth.map_or(1.0, |QueryGrowth { beta, length }| {
            let times = (position / length.max(1)) as f64;
            (1.0 + beta * times.ln_1p()) as f32
        })
    }

    /// Cosines and sines of one position, a pair each; `is_stretched`: of a text that is longer than those trained on.
    pub fn angles(
        &self,
        position: u32,
        is_stretched: bool,
    ) -> impl Iterator<Item = (f32, f32)> + '_ {
        let stretched = self.stretched.as_ref().filter(|_| is_stretched);
        let frequencies = stretched.map_or(&self.frequencies, |stretched| &stretched.frequencies);
        frequencies.iter().map(move |frequency| {
            let (sin, cos) = (f64::from(position) * frequency).sin_cos();
            ((cos * self.magnitude) as f32, (sin * self.magnitude) as f32)
        })
    }
}
