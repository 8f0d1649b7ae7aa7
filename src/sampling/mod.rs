//! From logits to a distribution over tokens, and from a distribution to a token.

mod distribution;
mod noise;
mod processors;
mod top_k;

pub use distribution::{Distribution, Softmax, Weighted};
pub use noise::{Noise, NoiseStream, Rng};
pub use processors::Processors;
pub use top_k::top_k;
