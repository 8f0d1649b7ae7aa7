//! What the layers of a forward pass share.

use smallvec::SmallVec;

use super::layer_inputs::StepInputs;
use super::states::States;
use crate::backend::{Backend, Batch, Recurrence, RecurrentState};
use crate::error::{Error, Result};

/// What all layers of a forward pass share.
pub(super) struct Pass<'a, 'c, B: Backend> {
    pub(super) backend: &'a B,
    pub(super) step: &'a B::Step,
    pub(super) batch: Batch<'a>,
    /// Those of the batch's segments, in their order.
    pub(super) caches: &'a mut [&'c mut B::KvCache],
    /// The same segments' states of recurrent layers.
    pub(super) states: &'a mut [&'c mut States],
    /// The layers' own inputs, in models that have some.
    pub(super) inputs: Option<StepInputs>,
}

impl<B: Backend> Pass<'_, '_, B> {
    /// Advances the segments' states of one number by their rows' inputs, to outputs.
    pub(super) fn recur(
        &mut self,
        inputs: B::Activations,
        recurrence: &Recurrence,
        index: usize,
    ) -> Result<B::Activations> {
        let (backend, batch) = (self.backend, self.batch);
        Ok(backend.recur(inputs, recurrence, &mut self.states_of(index)?, batch)?)
    }

    /// The segments' states of one number.
    fn states_of(&mut self, index: usize) -> Result<SmallVec<[&mut RecurrentState; 8]>> {
        let states = self.states.iter_mut().map(|states| states.of(index));
        let states: Option<_> = states.collect();
        states.ok_or_else(|| Error::Compute(format!("there is no recurrent state {index}")))
    }
}
