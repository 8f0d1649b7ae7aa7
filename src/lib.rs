//! Lossless speculative decoding.

pub mod error;
pub mod text;
pub mod weights;

pub use error::{Error, Result};
