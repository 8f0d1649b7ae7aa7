//! From logits to a law over tokens, and from a law to a token.

mod distribution;
mod likeliest;
mod noise;
mod processors;

pub use distribution::{Distribution, Softmax, Weighted};
pub use likeliest::likeliest;
pub use noise::{Chance, Noise, NoiseStream};
pub use processors::Processors;
