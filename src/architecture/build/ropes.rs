//! Rotary embeddings: those that a model has, and which of them a layer has.

use super::Builder;
use crate::architecture::keys::{KeyReader, RopeFor};
use crate::architecture::preset::Positions;
use crate::architecture::spec::LayerSpec;
use crate::backend::{AttentionShape, Rope};
use crate::error::Result;

impl<K: KeyReader> Builder<'_, K> {
    /// In a family with two, that of the sliding layers comes first.
    pub(super) fn ropes(
        &self,
        layers: &[LayerSpec],
        attention: AttentionShape,
        context_length: usize,
    ) -> Result<Vec<Rope>> {
        let which: &[RopeFor] = match self.preset.positions {
            Positions::Learned | Positions::Unstated => &[],
            Positions::Rotary
            | Positions::RotaryButEvery(_)
            | Positions::RotaryIfSliding
            | Positions::RotaryIfStated => &[RopeFor::Full],
            Positions::RotaryBySliding | Positions::RotaryStretchedUnlessSliding => {
                &[RopeFor::Sliding, RopeFor::Full]
            }
        };
        let head_dim = |rope: usize| {
            let mut attentions = layers.iter().filter_map(|layer| layer.mixer.attention());
            let layer = attentions.find(|layer| layer.rope == Some(rope));
            let of_latent = layers.iter().find_map(|layer| layer.mixer.latent());
            match (layer, of_latent) {
                (Some(layer), _) => layer.shape.head_dim,
                (None, Some(latent)) => latent.rotary_dim,
                (None, None) => attention.head_dim,
            }
        };
        let rope = |(index, rope_for): (usize, &RopeFor)| {
            let (keys, preset) = (self.keys, self.preset);
            let head_dim = head_dim(index);
            let rope = keys.rope(*rope_for, preset, head_dim, context_length)?;
            if !(rope.theta.is_finite() && rope.theta > 1.0) {
                return Err(keys.wrong(rope_for.theta(), "a number above 1", &rope.theta));
            }
            let pairing = keys.pairing(preset);
            Ok(Rope {
                growth: rope.growth,
                ..rope.scaling.rope(rope.dims, rope.theta, pairing)
            })
        };
        which.iter().enumerate().map(rope).collect()
    }

    /// The rotary embedding of a layer; `has_windows`: whether those that slide have a window.
    pub(super) fn rope_of(
        &self,
        layer: usize,
        slides: bool,
        has_windows: bool,
    ) -> Result<Option<usize>> {
        let is_stated = self.preset.positions == Positions::RotaryIfStated;
        let stated = || match self.keys.is_converted() && !is_stated {
            // There, the key has another meaning.
            true => Ok(None),
            false => self.keys.states_rotated(layer),
        };
        let one = |is_rotated: bool| is_rotated.then_some(0);
        Ok(match self.preset.positions {
            Positions::Learned | Positions::Unstated => None,
            Positions::Rotary => Some(0),
            Positions::RotaryIfStated => one(stated()?.unwrap_or(self.keys.is_converted())),
            Positions::RotaryBySliding => Some(usize::from(!slides)),
            Positions::RotaryStretchedUnlessSliding => Some(usize::from(!(slides && has_windows))),
            Positions::RotaryButEvery(n) => {
                one(stated()?.unwrap_or(!(layer + 1).is_multiple_of(n)))
            }
            Positions::RotaryIfSliding => one(stated()?.unwrap_or(slides || !has_windows)),
        })
    }
}
