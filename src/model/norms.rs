//! The norms around a half of a layer.

use crate::backend::{Backend, Norm};

/// The norms of a mixer or an MLP.
pub(super) struct Norms<B: Backend> {
    /// On what it reads.
    pub(super) before: Option<Norm<B>>,
    /// On what it returns, before that joins the residual stream.
    pub(super) after: Option<Norm<B>>,
}
