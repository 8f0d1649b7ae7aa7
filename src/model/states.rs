//! The states of a sequence's recurrent layers.

use crate::backend::RecurrentState;
use crate::error::Result;

/// The states of a sequence's recurrent layers, in their order.
#[derive(Clone, Default)]
pub(super) struct States(Vec<RecurrentState>);

impl States {
    /// Those of a sequence without tokens.
    pub(super) fn new(layers: impl Iterator<Item = RecurrentState>) -> Self {
        Self(layers.collect())
    }

    /// The state of a recurrent layer, by its number among those.
    pub(super) fn of(&mut self, layer: usize) -> Option<&mut RecurrentState> {
        self.0.get_mut(layer)
    }

    /// Whether no layer is recurrent.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The most tokens, up to `length`, that all of them can stand for.
    pub(super) fn reachable(&self, length: usize) -> Option<usize> {
        let lengths = self.0.iter().map(RecurrentState::len);
        let length = lengths.fold(length, usize::min);
        let mut states = self.0.iter();
        states.all(|state| state.reaches(length)).then_some(length)
    }

    /// Accepts a path of the tree after the first `past` tokens.
    pub(super) fn accept(&mut self, past: usize, path: &[usize]) -> Result<()> {
        let mut states = self.0.iter_mut();
        Ok(states.try_for_each(|state| state.accept(past, path))?)
    }

    /// Those of a sequence without tokens, of the same layers.
    pub(super) fn cleared(&self) -> Self {
        Self(self.0.iter().map(RecurrentState::cleared).collect())
    }

    /// Those of the first `length` tokens, which they reach.
    pub(super) fn fork(&self, length: usize) -> Self {
        Self(self.0.iter().map(|state| state.fork(length)).collect())
    }
}
