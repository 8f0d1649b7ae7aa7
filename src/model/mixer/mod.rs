//! Mixers: what lets a token see those before it. A new kind is a variant here and a file beside this one.

mod attention;
mod delta_net;
mod latent;
mod recurrent;
mod short_conv;
mod state_space;

use smallvec::SmallVec;

use super::loader::Loader;
use super::pass::Pass;
use crate::architecture::MixerSpec;
use crate::backend::{AttentionShape, Backend, Recurrence, RecurrentState};
use crate::error::{Error, Result};
pub(super) use attention::SelfAttention;
use delta_net::DeltaNet;
use latent::LatentAttention;
pub(super) use recurrent::Recurrent;
use state_space::StateSpaceMixer;

/// The first half of a layer.
pub(super) enum Mixer<B: Backend> {
    /// Causal attention over keys and values.
    Attention(SelfAttention<B>),
    /// A recurrence over a state.
    Recurrent(Recurrent<B>),
    /// A gated delta net.
    DeltaNet(Box<DeltaNet<B>>),
    /// A selective state space.
    StateSpace(Box<StateSpaceMixer<B>>),
    /// Attention and a selective state space, on the same input.
    AttentionAndStateSpace(Box<(SelfAttention<B>, StateSpaceMixer<B>)>),
    /// Attention over compressed keys and values.
    Latent(Box<LatentAttention<B>>),
    /// Nothing: the layer has only an MLP.
    None,
}

/// Where a layer's keys and values, and its states, are among a sequence's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// The number of its cache, or of its lender's.
    pub(super) cache: usize,
    /// The number of its first state.
    pub(super) state: usize,
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
            MixerSpec::DeltaNet(spec) => {
                let delta_net = DeltaNet::load(loader, index, spec)?;
                Ok(Self::DeltaNet(Box::new(delta_net)))
            }
            MixerSpec::StateSpace(spec) => {
                let space = StateSpaceMixer::load(loader, index, spec)?;
                Ok(Self::StateSpace(Box::new(space)))
            }
            MixerSpec::AttentionAndStateSpace(attention, space) => {
                let attention = SelfAttention::load(loader, index, attention)?;
                let space = StateSpaceMixer::load(loader, index, space)?;
                Ok(Self::AttentionAndStateSpace(Box::new((attention, space))))
            }
            MixerSpec::Latent(spec) => {
                let latent = LatentAttention::load(loader, index, spec)?;
                Ok(Self::Latent(Box::new(latent)))
            }
            MixerSpec::None => Ok(Self::None),
        }
    }

    /// The residual stream with what the mixer makes of it.
    pub(super) fn forward(
        &self,
        x: &B::Activations,
        slot: Slot,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        match self {
            Self::Attention(attention) => attention.forward(x, slot.cache, pass),
            Self::Recurrent(recurrent) => recurrent.forward(x, slot.state, pass),
            Self::DeltaNet(delta_net) => delta_net.forward(x, slot.state, pass),
            Self::StateSpace(space) => space.forward(x, x, slot.state, pass),
            Self::AttentionAndStateSpace(both) => {
                let (attention, space) = &**both;
                let attended = attention.forward(x, slot.cache, pass)?;
                space.forward(x, &attended, slot.state, pass)
            }
            Self::Latent(latent) => latent.forward(x, slot.cache, pass),
            Self::None => Err(Error::Compute("a layer without a mixer".into())),
        }
    }

    /// Its recurrences, each of which has a state in a sequence.
    fn recurrences(&self) -> SmallVec<[&Recurrence; 2]> {
        match self {
            Self::Attention(_) | Self::Latent(_) | Self::None => SmallVec::new(),
            Self::Recurrent(recurrent) => SmallVec::from_iter([&recurrent.recurrence]),
            Self::DeltaNet(delta_net) => SmallVec::from_iter(delta_net.recurrences()),
            Self::StateSpace(space) => SmallVec::from_iter(space.recurrences()),
            Self::AttentionAndStateSpace(both) => SmallVec::from_iter(both.1.recurrences()),
        }
    }

    /// The states of a sequence without tokens.
    pub(super) fn states(&self) -> SmallVec<[RecurrentState; 2]> {
        self.recurrences()
            .into_iter()
            .map(RecurrentState::new)
            .collect()
    }

    /// The shape of the keys and values that a sequence has of it, if it has any.
    pub(super) fn cached_shape(&self) -> Option<AttentionShape> {
        match self {
            Self::Attention(attention) => attention.cached_shape(),
            Self::AttentionAndStateSpace(both) => both.0.cached_shape(),
            Self::Latent(latent) => Some(latent.shape()),
            Self::Recurrent(_) | Self::DeltaNet(_) | Self::StateSpace(_) | Self::None => None,
        }
    }

    /// How many states a sequence has of it.
    pub(super) fn state_count(&self) -> usize {
        self.recurrences().len()
    }
}
