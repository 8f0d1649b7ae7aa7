//! Mixers: what lets a token see those before it. A new kind is a variant here and a file beside this one.

mod attention;
mod recurrent;
mod short_conv;

use super::loader::Loader;
use super::pass::Pass;
use crate::architecture::MixerSpec;
use crate::backend::{Backend, RecurrentState};
use crate::error::Result;
use attention::SelfAttention;
pub(super) use recurrent::Recurrent;

/// The first half of a layer.
pub(super) enum Mixer<B: Backend> {
    /// Causal attention over keys and values.
    Attention(SelfAttention<B>),
    /// A recurrence over a state.
    Recurrent(Recurrent<B>),
}

impl<B: Backend> Mixer<B> {
    /// Brings the weights of layer `index` to the backend.
    pub(super) fn load(loader: &mut Loader<'_, B>, index: usize, spec: MixerSpec) -> Result<Self> {
        match spec {
            MixerSpec::Attention(spec) => {
                SelfAttention::load(loader, index, spec).map(Self::Attention)
            }
            MixerSpec::ShortConv(spec) => {
                short_conv::load(loader, index, spec).map(Self::Recurrent)
            }
        }
    }

    /// The residual stream with what the mixer makes of it; `index` is the layer's among those with a cache, or with a state.
    pub(super) fn forward(
        &self,
        x: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        match self {
            Self::Attention(attention) => attention.forward(x, index, pass),
            Self::Recurrent(recurrent) => recurrent.forward(x, index, pass),
        }
    }

    /// Whether a sequence has a state of it, in place of keys and values.
    pub(super) fn is_recurrent(&self) -> bool {
        matches!(self, Self::Recurrent(_))
    }

    /// The state of a sequence without tokens; `None`: it keeps keys and values instead.
    pub(super) fn state(&self) -> Option<RecurrentState> {
        match self {
            Self::Attention(_) => None,
            Self::Recurrent(recurrent) => Some(recurrent.state()),
        }
    }
}
