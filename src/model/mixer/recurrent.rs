//! A recurrent layer: projections to the inputs of a recurrence, and back from its outputs.

use crate::backend::{Backend, Linear, Recurrence};
use crate::error::Result;
use crate::model::norms::Norms;
use crate::model::pass::Pass;

/// The weights of a recurrent layer.
pub(in crate::model) struct Recurrent<B: Backend> {
    pub(in crate::model) norms: Norms<B>,
    pub(in crate::model) input: Linear<B>,
    pub(in crate::model) recurrence: Recurrence,
    pub(in crate::model) output: Linear<B>,
}

impl<B: Backend> Recurrent<B> {
    pub(super) fn forward(
        &self,
        x: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let [inputs] = self.norms.project(backend, x, [&self.input])?;
        let outputs = pass.recur(inputs, &self.recurrence, index)?;
        self.norms.join(backend, &outputs, &self.output, x)
    }
}
