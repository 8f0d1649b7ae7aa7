//! MLPs: what transforms each token by itself. A new kind is a variant here.

mod experts;
mod side_by_side;

use super::loader::Loader;
use super::norms::Norms;
use crate::architecture::names::LayerTensor;
use crate::architecture::{LayerSpec, MixerSpec, MlpSpec, Residual};
use crate::backend::{Activation, Backend, Linear, RowMap};
use crate::error::Result;
use experts::MixtureOfExperts;
use side_by_side::SideBySide;

/// The second half of a layer.
pub(super) enum Mlp<B: Backend> {
    /// `down(activation(gate(x)) * up(x))`
    Gated {
        gate: Linear<B>,
        ungated: PlainMlp<B>,
    },
    /// `down(activation(up(x)))`
    Plain(PlainMlp<B>),
    /// The weighted sum of a few gated ones.
    Experts(MixtureOfExperts<B>),
    /// A gated one and experts.
    SideBySide(Box<SideBySide<B>>),
}

/// What an MLP consists of, but for a gate.
pub(super) struct PlainMlp<B: Backend> {
    pub(super) norms: Norms<B>,
    pub(super) up: Linear<B>,
    pub(super) down: Linear<B>,
    pub(super) activation: Activation,
    /// Factor on a gate.
    pub(super) gate_scale: f32,
    /// What of a gate passes, where not all does.
    pub(super) excess: Option<RowMap>,
}

impl<B: Backend> Mlp<B> {
    /// Brings the weights of layer `index` to the backend, if it has any.
    pub(super) fn load(
        loader: &mut Loader<'_, B>,
        index: usize,
        layer: &LayerSpec,
    ) -> Result<Option<Self>> {
        let hidden = loader.spec.hidden_size;
        Ok(Some(match layer.mlp {
            MlpSpec::Gated { width } | MlpSpec::SparseGated { width, .. } => Self::Gated {
                ungated: PlainMlp::load(loader, index, layer, width)?,
                gate: loader.layer_linear(index, LayerTensor::Gate, width, hidden)?,
            },
            MlpSpec::Plain { width } => Self::Plain(PlainMlp::load(loader, index, layer, width)?),
            MlpSpec::Experts(spec) => {
                let norms = norms(loader, index, layer)?;
                Self::Experts(MixtureOfExperts::load(loader, index, spec, norms)?)
            }
            MlpSpec::GatedAndExperts { width, experts } => {
                let both = SideBySide::load(loader, index, width, experts)?;
                Self::SideBySide(Box::new(both))
            }
            MlpSpec::None => return Ok(None),
        }))
    }

    /// The residual stream with what the MLP makes of `x`.
    pub(super) fn forward(
        &self,
        backend: &B,
        x: &B::Activations,
        residual: &B::Activations,
    ) -> Result<B::Activations> {
        let (gate, mlp) = match self {
            Self::Gated { gate, ungated } => (Some(gate), ungated),
            Self::Plain(plain) => (None, plain),
            Self::Experts(experts) => return experts.forward(backend, x, residual),
            Self::SideBySide(both) => return both.forward(backend, x, residual),
        };
        mlp.norms
            .join(backend, &mlp.widen(backend, gate, x)?, &mlp.down, residual)
    }
}

/// The norms of an MLP.
fn norms<B: Backend>(
    loader: &mut Loader<'_, B>,
    index: usize,
    layer: &LayerSpec,
) -> Result<Norms<B>> {
    let has_one_norm = loader.spec.residual == Residual::ParallelOneNorm;
    // Of a layer with one norm, it is the first.
    let before = match has_one_norm || layer.mixer == MixerSpec::None {
        true => LayerTensor::AttentionNorm,
        false => LayerTensor::MlpNorm,
    };
    let mut norms = loader.norms(index, before, LayerTensor::PostMlpNorm)?;
    norms.scale *= loader.spec.mlp_scales[1];
    Ok(norms)
}

impl<B: Backend> PlainMlp<B> {
    fn load(
        loader: &mut Loader<'_, B>,
        index: usize,
        layer: &LayerSpec,
        width: usize,
    ) -> Result<Self> {
        let hidden = loader.spec.hidden_size;
        Ok(Self {
            norms: norms(loader, index, layer)?,
            up: loader.layer_linear(index, LayerTensor::Up, width, hidden)?,
            down: loader.layer_linear(index, LayerTensor::Down, hidden, width)?,
            activation: loader.spec.activation,
            gate_scale: loader.spec.mlp_scales[0],
            excess: match layer.mlp {
                MlpSpec::SparseGated { deviations, .. } => Some(RowMap::Excess(deviations)),
                _ => None,
            },
        })
    }

    /// What `down` reads.
    fn widen(
        &self,
        backend: &B,
        gate: Option<&Linear<B>>,
        x: &B::Activations,
    ) -> Result<B::Activations> {
        let is_changed = self.gate_scale.to_bits() != 1.0_f32.to_bits() || self.excess.is_some();
        if let Some(gate) = gate.filter(|_| is_changed) {
            let [gate, up] = self.norms.project(backend, x, [gate, &self.up])?;
            let mut gate = backend.scale(gate, self.gate_scale)?;
            if let Some(excess) = &self.excess {
                gate = backend.map_rows([gate], excess)?;
            }
            let gate = backend.activate(gate, self.activation)?;
            return Ok(backend.multiply(&gate, &up)?);
        }
        Ok(match (&self.norms.before, gate) {
            (Some(norm), _) => backend.mlp(x, norm, gate, &self.up, self.activation)?,
            (None, Some(gate)) => {
                let gate = backend.activate(backend.linear(x, gate)?, self.activation)?;
                backend.multiply(&gate, &backend.linear(x, &self.up)?)?
            }
            (None, None) => backend.activate(backend.linear(x, &self.up)?, self.activation)?,
        })
    }
}
