//! One layer: a mixer, which lets a token see those before it, then an MLP, which transforms each token by itself.

use smallvec::SmallVec;

use super::altup::AltUp;
use super::layer_inputs::LayerInput;
use super::loader::Loader;
use super::mixer::{Mixer, SelfAttention, Slot};
use super::mlp::Mlp;
use super::pass::Pass;
use crate::architecture::Residual;
use crate::architecture::names::LayerTensor;
use crate::backend::{AttentionShape, Backend, RecurrentState};
use crate::error::{Error, Result};

/// One layer's weights.
pub(super) struct Layer<B: Backend> {
    pub(super) mixer: Mixer<B>,
    mlp: Option<Mlp<B>>,
    residual: Residual,
    /// What it does with the parts of a residual stream that has several.
    altup: Option<AltUp<B>>,
    /// Where its own input enters.
    input: Option<LayerInput<B>>,
    /// Factor on the residual stream after it.
    scale: Option<f32>,
}

impl<B: Backend> Layer<B> {
    /// Brings a layer's weights to the backend.
    pub(super) fn load(loader: &mut Loader<'_, B>, index: usize) -> Result<Self> {
        let spec = loader.spec.layers[index];
        let input = loader.spec.layer_inputs;
        let input = input.map(|inputs| LayerInput::load(loader, index, inputs));
        let altup = loader.spec.streams;
        let altup =
            altup.map(|streams| AltUp::load(loader, index, streams.count, streams.laurel_rank));
        let scale = match loader.spec.layer_scales {
            true => loader
                .layer_values(index, LayerTensor::LayerScale, &[1])?
                .pop(),
            false => None,
        };
        Ok(Self {
            altup: altup.transpose()?,
            input: input.transpose()?,
            scale,
            mixer: Mixer::load(loader, index, spec.mixer)?,
            mlp: Mlp::load(loader, index, &spec)?,
            residual: loader.spec.residual,
        })
    }

    /// The residual stream after the layer.
    pub(super) fn forward(
        &self,
        x: &B::Activations,
        slot: Slot,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        if let Some(altup) = &self.altup {
            return self.forward_first(altup, x, slot, pass);
        }
        let mixed = match &self.mixer {
            Mixer::None => None,
            mixer => Some(mixer.forward(x, slot, pass)?),
        };
        let backend = pass.backend;
        let residual = mixed.as_ref().unwrap_or(x);
        let mut x = match (&self.mlp, self.residual) {
            (Some(mlp), Residual::Sequential) => mlp.forward(backend, residual, residual)?,
            (Some(mlp), Residual::Parallel | Residual::ParallelOneNorm) => {
                mlp.forward(backend, x, residual)?
            }
            (None, _) => mixed.ok_or_else(|| Error::Compute("a layer of nothing".into()))?,
        };
        if let (Some(input), Some(inputs)) = (&self.input, &pass.inputs) {
            x = input.forward(backend, &x, inputs)?;
        }
        match self.scale {
            Some(scale) => Ok(backend.scale(x, scale)?),
            None => Ok(x),
        }
    }

    /// The parts of the residual stream after the layer, which computes on the first.
    fn forward_first(
        &self,
        altup: &AltUp<B>,
        streams: &B::Activations,
        slot: Slot,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<B::Activations> {
        let backend = pass.backend;
        let (predicted, first) = altup.predict(backend, streams)?;
        let attended = self.mixer.forward(&first, slot, pass)?;
        let mut x = altup.beside_attention(backend, &first, &attended)?;
        if let Some(mlp) = &self.mlp {
            x = mlp.forward(backend, &x, &x)?;
        }
        let input = self.input.as_ref().zip(pass.inputs.as_ref());
        altup.correct(backend, predicted, x, input)
    }

    /// Appends the keys and values of rows of the residual stream, and computes nothing further.
    pub(super) fn append_stream(
        &self,
        x: &B::Activations,
        slot: Slot,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<()> {
        self.attention()?.append_stream(x, slot.cache, pass)
    }

    /// Appends the keys and values of rows that the layer does not compute, and as they are: the layer's norm is not applied.
    pub(super) fn append(
        &self,
        x: &B::Activations,
        slot: Slot,
        pass: &mut Pass<'_, '_, B>,
    ) -> Result<()> {
        self.attention()?.append(x, slot.cache, pass)
    }

    fn attention(&self) -> Result<&SelfAttention<B>> {
        match &self.mixer {
            Mixer::Attention(attention) => Ok(attention),
            _ => Err(Error::Compute(
                "rows for a layer that is no attention".into(),
            )),
        }
    }

    /// How many states a sequence has of it; none if it keeps keys and values instead.
    pub(super) fn state_count(&self) -> usize {
        self.mixer.state_count()
    }

    /// The shape of the keys and values that a sequence has of it, if it has any.
    pub(super) fn cached_shape(&self) -> Option<AttentionShape> {
        self.mixer.cached_shape()
    }

    /// Its states of a sequence without tokens.
    pub(super) fn states(&self) -> SmallVec<[RecurrentState; 2]> {
        self.mixer.states()
    }
}
