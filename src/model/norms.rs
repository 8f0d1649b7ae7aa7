//! The norms around a half of a layer.

use crate::backend::{Backend, Linear, Norm};
use crate::error::{Error, Result};

/// The norms of a mixer or an MLP.
pub(super) struct Norms<B: Backend> {
    /// On what it reads.
    pub(super) before: Option<Norm<B>>,
    /// On what it returns, before that joins the residual stream.
    pub(super) after: Option<Norm<B>>,
    /// Factor on that.
    pub(super) scale: f32,
}

impl<B: Backend> Norms<B> {
    /// The residual stream with what a linear layer makes of `x`.
    pub(super) fn join(
        &self,
        backend: &B,
        x: &B::Activations,
        linear: &Linear<B>,
        residual: &B::Activations,
    ) -> Result<B::Activations> {
        match self.is_scaled() {
            true => self.add(backend, backend.linear(x, linear)?, residual),
            false => Ok(backend.linear_add(x, linear, self.after.as_ref(), residual)?),
        }
    }

    /// The residual stream with what mixer or MLP return.
    pub(super) fn add(
        &self,
        backend: &B,
        returned: B::Activations,
        residual: &B::Activations,
    ) -> Result<B::Activations> {
        Ok(backend.add(&self.finish(backend, returned)?, residual)?)
    }

    /// What mixer or MLP return, as it joins the residual stream.
    pub(super) fn finish(
        &self,
        backend: &B,
        mut returned: B::Activations,
    ) -> Result<B::Activations> {
        if let Some(norm) = &self.after {
            returned = backend.norm(&returned, norm)?;
        }
        match self.is_scaled() {
            true => Ok(backend.scale(returned, self.scale)?),
            false => Ok(returned),
        }
    }

    fn is_scaled(&self) -> bool {
        self.scale.to_bits() != 1.0_f32.to_bits()
    }

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
