//! A family's row and a file's keys to a [`ModelSpec`].

mod attention;
mod layers;
mod mlp;
mod recurrent;
mod ropes;

use super::keys::{self, KeyReader};
use super::preset::{EmbeddingScale, LogitScale, Positions, Preset};
use super::spec::{LayerInputsSpec, ModelSpec, StreamsSpec};
use super::variants::{Biases, Residual};
use crate::backend::NormKind;
use crate::error::Result;

/// The specification of one model of a family.
pub(super) fn build(keys: &impl KeyReader, preset: &'static Preset) -> Result<ModelSpec> {
    Builder { keys, preset }.spec()
}

struct Builder<'a, K: KeyReader> {
    keys: &'a K,
    preset: &'static Preset,
}

impl<K: KeyReader> Builder<'_, K> {
    fn spec(&self) -> Result<ModelSpec> {
        let (keys, preset) = (self.keys, self.preset);
        let hidden_size = keys.required(&keys::HIDDEN_SIZE)?;
        let prediction_layers = self.count(&keys::PREDICTION_LAYERS)?.unwrap_or(0);
        let layers = self.layer_count(prediction_layers)?;
        let context_length = keys.required(&keys::CONTEXT_LENGTH)?;
        let attention = self.attention(hidden_size, layers)?;
        let experts = self.experts()?;
        let layers = self.layers(layers, hidden_size, attention, experts)?;
        self.check_heads(&layers)?;
        let norm = self.norm()?;
        Ok(ModelSpec {
            family: preset,
            vocab_size: keys
                .vocab_size()?
                .ok_or_else(|| keys.missing(&keys::VOCAB_SIZE))?,
            hidden_size,
            context_length,
            ropes: self.ropes(&layers, attention, context_length)?,
            layers,
            prediction_layers,
            norm,
            after_norm: self.after_norm(norm)?,
            norm_placement: preset.norm_placement,
            query_key_norm: self.query_key_norm()?,
            value_norm: preset.value_norm,
            attention_gate: preset.attention_gate,
            attention_sinks: preset.attention_sinks,
            activation: keys.activation()?.unwrap_or(preset.activation),
            residual: match keys.flag(&keys::PARALLEL_RESIDUAL) {
                Some(false) => Residual::Sequential,
                _ => preset.residual,
            },
            residual_scale: match preset.has_residual_scale {
                true => keys.number(&keys::RESIDUAL_SCALE)?.unwrap_or(1.0) as f32,
                false => 1.0,
            },
            mlp_scales: keys.factors::<2>("mlp_multipliers")?,
            learned_positions: preset.positions == Positions::Learned,
            biases: match (preset.biases, keys.flag(&keys::ATTENTION_BIAS)) {
                (Biases::All, Some(false)) => Biases::AsStored,
                (biases, _) => biases,
            },
            embedding_scale: match preset.embedding_scale {
                EmbeddingScale::None => 1.0,
                EmbeddingScale::RootOfHidden => (hidden_size as f32).sqrt(),
                EmbeddingScale::Stated => {
                    keys.number(&keys::EMBEDDING_SCALE)?.unwrap_or(1.0) as f32
                }
            },
            embedding_norm: preset.embedding_norm,
            layer_inputs: self.layer_inputs()?,
            streams: self.streams()?,
            layer_scales: preset.layer_scales,
            logit_scale: self.logit_scale()?,
            logit_softcap: keys.cap(&keys::LOGIT_SOFTCAP, preset.logit_softcap)?,
            tied_head: keys.flag(&keys::TIED_HEAD),
        })
    }

    /// A positive integer, or none where the file says zero.
    fn count(&self, key: &keys::Key) -> Result<Option<usize>> {
        match self.keys.is_zero(key) {
            true => Ok(None),
            false => self.keys.size(key),
        }
    }

    fn layer_count(&self, prediction_layers: usize) -> Result<usize> {
        let listed = match self.preset.half_layers {
            true => self.keys.listed_layers().filter(|layers| *layers > 0),
            false => None,
        };
        let mut layers = self.keys.size_or(&keys::LAYERS, listed)?;
        if self.keys.counts_prediction_layers() {
            if prediction_layers >= layers {
                let expected = format!("less than the {layers} layers");
                let key = &keys::PREDICTION_LAYERS;
                return Err(self.keys.wrong(key, &expected, &prediction_layers));
            }
            layers -= prediction_layers;
        }
        if layers > keys::MAX_LAYERS {
            let expected = format!("at most {}", keys::MAX_LAYERS);
            return Err(self.keys.wrong(&keys::LAYERS, &expected, &layers));
        }
        Ok(layers)
    }

    fn layer_inputs(&self) -> Result<Option<LayerInputsSpec>> {
        let key = &keys::LAYER_INPUTS;
        if !self.preset.may_have_layer_inputs || self.keys.says_none(key) {
            return Ok(None);
        }
        let Some(width) = self.count(key)? else {
            return Ok(None);
        };
        let vocab_size = self.keys.layer_inputs_vocab()?;
        let vocab_size = vocab_size.ok_or_else(|| self.keys.missing(&keys::LAYER_INPUTS_VOCAB))?;
        Ok(Some(LayerInputsSpec { width, vocab_size }))
    }

    fn streams(&self) -> Result<Option<StreamsSpec>> {
        if !self.preset.streams {
            return Ok(None);
        }
        let count = self.keys.size_or(&keys::STREAMS, Some(4))?;
        if !(2..=keys::MAX_STREAMS).contains(&count) {
            let expected = format!("2 to {}", keys::MAX_STREAMS);
            return Err(self.keys.wrong(&keys::STREAMS, &expected, &count));
        }
        let rank = self.keys.laurel_rank().or(Some(64));
        Ok(Some(StreamsSpec {
            count,
            laurel_rank: self.keys.size_or(&keys::LAUREL_RANK, rank)?,
        }))
    }

    /// The kind of norms on what mixer and MLP return.
    fn after_norm(&self, norm: NormKind) -> Result<NormKind> {
        let stated = self.keys.number(&keys::AFTER_EPSILON)?;
        let stated = stated.map(|epsilon| epsilon as f32);
        Ok(match (norm, self.preset.after_epsilon) {
            (NormKind::Rms(_), Some(default)) => NormKind::Rms(stated.unwrap_or(default)),
            (NormKind::Layer(_), Some(default)) => NormKind::Layer(stated.unwrap_or(default)),
            (norm, None) => norm,
        })
    }

    fn logit_scale(&self) -> Result<f32> {
        let kind = self.preset.logit_scale;
        let is_folded = kind == LogitScale::Folded && self.keys.is_converted();
        if kind == LogitScale::None || is_folded {
            return Ok(1.0);
        }
        let stated = self.keys.number(&keys::LOGIT_SCALE)?;
        let scale = stated.ok_or_else(|| self.keys.missing(&keys::LOGIT_SCALE))?;
        Ok(match kind {
            LogitScale::Divisor => (1.0 / scale) as f32,
            LogitScale::Factor | LogitScale::Folded | LogitScale::None => scale as f32,
        })
    }

    fn norm(&self) -> Result<NormKind> {
        Ok(match self.preset.norm {
            NormKind::Rms(default) => {
                let epsilon = self.keys.number(&keys::RMS_EPSILON)?;
                NormKind::Rms(epsilon.map_or(default, |epsilon| epsilon as f32))
            }
            NormKind::Layer(default) => {
                let epsilon = self.keys.number(&keys::LAYER_EPSILON)?;
                NormKind::Layer(epsilon.map_or(default, |epsilon| epsilon as f32))
            }
        })
    }
}
