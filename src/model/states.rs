//! The states of a sequence's recurrent layers.

use crate::backend::RecurrentState;
use crate::error::Result;

/// The states of a sequence's recurrent layers, one entry a layer; `None` for a layer that has a cache instead.
#[derive(Clone, Default)]
pub(super) struct States(Vec<Option<RecurrentState>>);

impl States {
    /// Those of a sequence without tokens.
    pub(super) fn new(layers: impl Iterator<Item = Option<RecurrentState>>) -> Self {
        let states: Vec<_> = layers.collect();
        match states.iter().any(Option::is_some) {
            true => Self(states),
            false => Self::default(),
        }
    }

    /// The state of a recurrent layer.
    pub(super) fn of(&mut self, layer: usize) -> Option<&mut RecurrentState> {
        self.0.get_mut(layer)?.as_mut()
    }

    fn all(&self) -> impl Iterator<Item = &RecurrentState> {
        self.0.iter().flatten()
    }

    /// Whether no layer is recurrent.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The most tokens, up to `length`, that all of them can stand for.
    pub(super) fn reachable(&self, length: usize) -> Option<usize> {
        let length = self.all().map(RecurrentState::len).fold(length, usize::min);
        self.all()
            .all(|state| state.reaches(length))
            .then_some(length)
    }

    /// Accepts a path of the tree after the first `past` tokens.
    pub(super) fn accept(&mut self, past: usize, path: &[usize]) -> Result<()> {
        let mut states = self.0.iter_mut().flatten();
        Ok(states.try_for_each(|state| state.accept(past, path))?)
    }

    /// Those of a sequence without tokens, of the same layers.
    pub(super) fn cleared(&self) -> Self {
        let clear = |state: &Option<RecurrentState>| state.as_ref().map(RecurrentState::cleared);
        Self(self.0.iter().map(clear).collect())
    }

    /// Those of the first `length` tokens, which they reach.
    pub(super) fn fork(&self, length: usize) -> Self {
        let fork = |state: &Option<RecurrentState>| state.as_ref().map(|state| state.fork(length));
        Self(self.0.iter().map(fork).collect())
    }
}
