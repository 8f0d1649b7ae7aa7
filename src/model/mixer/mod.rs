//! Mixers: what lets a token see those before it. A new kind is a variant here and a file beside this one.

mod attention;
mod delta_net;
mod recurrent;
mod short_conv;
mod taps;

use smallvec::SmallVec;

use super::loader::Loader;
use super::pass::Pass;
use crate::architecture::MixerSpec;
use crate::backend::{AttentionShape, Backend, RecurrentState};
use crate::error::Result;
use attention::SelfAttention;
use delta_net::DeltaNet;
pub(super) use recurrent::Recurrent;

/// The first half of a layer.
pub(super) enum Mixer<B: Backend> {
    /// Causal attention over keys and values.
    Attention(SelfAttention<B>),
    /// A recurrence over a state.
    Recurrent(Recurrent<B>),
    /// A gated delta net.
    DeltaNet(DeltaNet<B>),
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
            MixerSpec::DeltaNet(spec) => DeltaNet::load(loader, index, spec).map(Self::DeltaNet),
        }
    }

    /// The residual stream with what the mixer makes of it; `index` is that of its cache, or of its first state.
    pub(super) fn forward(
        &self,
        x: &B::Activations,
        index: usize,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        match self {
            Self::Attention(attention) => attention.forward(x, index, pass),
            Self::Recurrent(recurrent) => recurrent.forward(x, index, pass),
            Self::DeltaNet(delta_net) => delta_net.forward(x, index, pass),
        }
    }

    /// The states of a sequence without tokens; none if it keeps keys and values instead.
    pub(super) fn states(&self) -> SmallVec<[RecurrentState; 2]> {
        match self {
            Self::Attention(_) => SmallVec::new(),
            Self::Recurrent(recurrent) => SmallVec::from_iter([recurrent.state()]),
            Self::DeltaNet(delta_net) => SmallVec::from_iter(delta_net.states()),
        }
    }

    /// The shape of the keys and values that a sequence has of it, if it has any.
    pub(super) fn cached_shape(&self) -> Option<AttentionShape> {
        match self {
            Self::Attention(attention) => attention.cached_shape(),
            Self::Recurrent(_) | Self::DeltaNet(_) => None,
        }
    }

    /// How many states a sequence has of it; none if it keeps keys and values instead.
    pub(super) fn state_count(&self) -> usize {
        match self {
            Self::Attention(_) => 0,
            Self::Recurrent(_) => 1,
            Self::DeltaNet(_) => 2,
        }
    }
}
