//! What the layers of a forward pass share.

use super::states::States;
use crate::backend::{Backend, Batch};

/// What all layers of a forward pass share.
pub(super) struct Pass<'a, 'c, B: Backend> {
    pub(super) backend: &'a B,
    pub(super) step: &'a B::Step,
    pub(super) batch: Batch<'a>,
    /// Those of the batch's segments, in their order.
    pub(super) caches: &'a mut [&'c mut B::KvCache],
    /// The same segments' states of recurrent layers.
    pub(super) states: &'a mut [&'c mut States],
}
