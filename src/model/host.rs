//! What layers compute on the host.

use crate::backend::{Backend, HostRows};
use crate::error::Result;

/// Rows on the host, one after the other.
pub(super) fn read<B: Backend>(backend: &B, rows: B::Activations) -> Result<Vec<f32>> {
    let mut host = HostRows::default();
    backend.read(rows, &mut host)?;
    Ok(host.into_vec())
}

/// `1 / (1 + e^-x)`
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}
