//! From logits to a distribution over tokens, and from a distribution to a token.

mod counts;
mod distribution;
mod noise;
mod processors;

pub use crate::backend::top_k;
pub use distribution::{Distribution, Softmax, Weighted};
pub use noise::{Noise, NoiseStream, Rng};
pub use processors::Processors;
