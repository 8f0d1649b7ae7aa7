//! Lossless speculative decoding.

pub mod error;
pub mod progress;
pub mod text;
pub mod weights;

pub use error::{Error, Result};
