//! The layers of a model: what each mixes tokens with, and the MLP after it.

use super::Builder;
use crate::architecture::keys::{self, Half, KeyReader};
use crate::architecture::preset::{DenseMlp, RecurrentKind};
use crate::architecture::spec::{AttentionSpec, KeyValueSource, LatentSpec, LayerSpec, MixerSpec};
use crate::architecture::variants::{ExpertsSpec, MlpSpec};
use crate::backend::AttentionShape;
use crate::error::Result;

/// What the layers of a model have in common.
struct Layers<'a, K: KeyReader> {
    builder: &'a Builder<'a, K>,
    hidden_size: usize,
    attention: AttentionShape,
    latent: Option<LatentSpec>,
    experts: Option<ExpertsSpec>,
    /// Which layers see a window alone.
    slides: Vec<bool>,
    window: Option<usize>,
    /// The first layer that uses the keys and values of an earlier one.
    first_sharing: usize,
}

impl<K: KeyReader> Builder<'_, K> {
    pub(super) fn layers(
        &self,
        layers: usize,
        hidden_size: usize,
        attention: AttentionShape,
        experts: Option<ExpertsSpec>,
    ) -> Result<Vec<LayerSpec>> {
        let slides = (0..layers).map(|layer| self.keys.slides(layer, layers, self.preset));
        let slides: Vec<bool> = slides.collect::<Result<_>>()?;
        let all = Layers {
            builder: self,
            hidden_size,
            attention,
            latent: match self.preset.latent {
                true => Some(self.latent(attention.heads)?),
                false => None,
            },
            experts,
            window: match slides.contains(&true) {
                true => self.window()?,
                false => None,
            },
            first_sharing: layers - self.sharing_layers(layers)?,
            slides,
        };
        let layer = |layer: usize| match self.preset.half_layers {
            true => all.half(layer),
            false => all.whole(layer),
        };
        (0..layers).map(layer).collect()
    }
}

impl<K: KeyReader> Layers<'_, K> {
    fn count(&self) -> usize {
        self.slides.len()
    }

    /// A layer that is a mixer or an MLP alone.
    fn half(&self, layer: usize) -> Result<LayerSpec> {
        let builder = self.builder;
        let half = builder.keys.half(layer, self.count())?;
        let mixer = match half {
            Half::Recurrent => builder.recurrent(builder.preset.recurrent, self.hidden_size)?,
            Half::Attention => MixerSpec::Attention(self.attention(layer)?),
            Half::Mlp | Half::Experts => MixerSpec::None,
        };
        let mlp = match half {
            Half::Mlp => self.dense_mlp(layer)?,
            Half::Experts => self.mlp(layer)?,
            Half::Recurrent | Half::Attention => MlpSpec::None,
        };
        Ok(LayerSpec { mixer, mlp })
    }

    /// A layer of both.
    fn whole(&self, layer: usize) -> Result<LayerSpec> {
        let keys = self.builder.keys;
        let has_experts = self.experts.is_some() && keys.has_experts(layer, self.count())?;
        Ok(LayerSpec {
            mixer: self.mixer(layer)?,
            mlp: match has_experts {
                true => self.mlp(layer)?,
                false => self.dense_mlp(layer)?,
            },
        })
    }

    fn mixer(&self, layer: usize) -> Result<MixerSpec> {
        let (builder, hidden_size) = (self.builder, self.hidden_size);
        Ok(match (self.latent, builder.preset.recurrent) {
            (Some(latent), _) => MixerSpec::Latent(latent),
            (None, Some(RecurrentKind::StateSpace(space))) if space.beside_attention => {
                builder.side_by_side(self.attention(layer)?, space, hidden_size)?
            }
            (None, Some(kind)) if builder.keys.is_recurrent(layer, self.count())? => {
                builder.recurrent(Some(kind), hidden_size)?
            }
            _ => MixerSpec::Attention(self.attention(layer)?),
        })
    }

    fn attention(&self, layer: usize) -> Result<AttentionSpec> {
        let slides = self.slides[layer];
        Ok(AttentionSpec {
            shape: self.builder.shape_of(self.attention, layer, slides)?,
            window: self.window.filter(|_| slides),
            rope: self.builder.rope_of(layer, slides, self.window.is_some())?,
            source: self.source(layer)?,
            output_scale: 1.0,
        })
    }

    /// Where a layer's keys and values come from: of those that share, the last of the same type before them;
    /// if all do, the target's.
    fn source(&self, layer: usize) -> Result<KeyValueSource> {
        let (keys, slides) = (self.builder.keys, &self.slides);
        if layer < self.first_sharing {
            let may = self.builder.preset.heads_by_sliding;
            return Ok(match may && keys.has_one_projection(layer, slides[layer]) {
                true => KeyValueSource::OneProjection,
                false => KeyValueSource::Projections,
            });
        }
        if self.first_sharing == 0 {
            return Ok(KeyValueSource::Target);
        }
        let lender = (0..self.first_sharing).rfind(|lender| slides[*lender] == slides[layer]);
        let lender = lender.ok_or_else(|| {
            let expected = "so few that a layer of the same type is before them";
            let sharing = self.count() - self.first_sharing;
            keys.wrong(&keys::SHARED_KEYS, expected, &sharing)
        });
        lender.map(KeyValueSource::Layer)
    }

    /// The experts of a layer that has some, and what stands beside them.
    fn mlp(&self, layer: usize) -> Result<MlpSpec> {
        match self.experts {
            Some(experts) if experts.router.is_normed => Ok(MlpSpec::GatedAndExperts {
                width: self.width(layer)?,
                experts,
            }),
            Some(experts) => Ok(MlpSpec::Experts(experts)),
            None => self.dense_mlp(layer),
        }
    }

    fn dense_mlp(&self, layer: usize) -> Result<MlpSpec> {
        let (keys, preset) = (self.builder.keys, self.builder.preset);
        let width = self.width(layer)?;
        let deviations = match preset.streams {
            true => keys.gate_deviations(layer, self.count())?,
            false => None,
        };
        Ok(match (preset.mlp, deviations) {
            (DenseMlp::Plain, _) => MlpSpec::Plain { width },
            (DenseMlp::Gated, Some(deviations)) => MlpSpec::SparseGated { width, deviations },
            (DenseMlp::Gated, None) => MlpSpec::Gated { width },
        })
    }

    /// The width of a layer's MLP without experts.
    fn width(&self, layer: usize) -> Result<usize> {
        let width = self
            .builder
            .mlp_width(layer, self.count(), self.hidden_size, self.experts)?;
        let is_doubled = layer >= self.first_sharing && self.builder.keys.doubles_mlps();
        Ok(if is_doubled { 2 * width } else { width })
    }
}
