//! One layer: a mixer, which lets a token see those before it, then an MLP, which transforms each token by itself.

use smallvec::SmallVec;

use super::layer_inputs::LayerInput;
use super::loader::Loader;
use super::mixer::{Mixer, Slot};
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
        let scale = match loader.spec.layer_scales {
            true => loader
                .layer_values(index, LayerTensor::LayerScale, &[1])?
                .pop(),
            false => None,
        };
        Ok(Self {
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
