//! The norms around a half of a layer.

use crate::backend::{Backend, Linear, Norm};
use crate::error::{Error, Result};

/// The norms of a mixer or an MLP.
pub(super) struct Norms<B: Backend> {
    /// On what it reads.
    pub(super) before: Option<Norm<B>>,
    /// On what it returns, before that joins the residual stream.
    pub(super) after: Option<Norm<B>>,
}

impl<B: Backend> Norms<B> {
    /// What it reads, normalized if there is a norm, through several linear layers.
    pub(super) fn project<const N: usize>(
        &self,
        backend: &B,
        x: &B::Activations,
        linears: [&Linear<B>; N],
    ) -> Result<[B::Activations; N]> {
        if let Some(norm) = &self.before {
            return Ok(backend.project(x, norm, linears)?);
        }
        let outputs = linears.map(|linear| backend.linear(x, linear));
        let outputs = outputs.into_iter().collect::<Result<Vec<_>, _>>()?;
        outputs
            .try_into()
            .map_err(|_| Error::Compute("a projection lost an output".into()))
    }
}
