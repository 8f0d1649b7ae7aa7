//! Rotary embeddings, as GGUF files describe them.

use super::Keys;
use crate::architecture::keys::{self, KeyReader, RopeFor, RopeParameters, RopeReader};
use crate::architecture::preset::{Positions, Preset};
use crate::architecture::rope::{Scaling, longrope_magnitude, yarn_magnitude};
use crate::backend::QueryGrowth;
use crate::error::{Error, Result};
use crate::weights::{Checkpoint, dequantize};

impl RopeReader for Keys<'_> {
    /// From the keys of its kind of layers, and from tensors with factors.
    fn rope(
        &self,
        rope_for: RopeFor,
        preset: &'static Preset,
        head_dim: usize,
        context_length: usize,
    ) -> Result<RopeParameters> {
        const DIMS: &str = "rope.dimension_count";
        let of_sliding = match rope_for {
            RopeFor::Sliding => self.size_of("rope.dimension_count_swa")?,
            RopeFor::Full => None,
        };
        let dims = match of_sliding {
            Some(dims) => dims,
            None => self.size_of(DIMS)?.unwrap_or(head_dim),
        };
        if dims > head_dim || !dims.is_multiple_of(2) {
            let expected = format!("even, at most {head_dim}");
            return Err(self.wrong_value(DIMS, &expected, &dims));
        }
        let theta = self.number(rope_for.theta())?;
        let growth = self.float("attention.temperature_scale").map(|beta| {
            let length = [
                "attention.temperature_length",
                "rope.scaling.original_context_length",
            ];
            let length = length.iter().find_map(|name| self.float(name));
            let length = length.map_or(context_length, |length| length as usize);
            QueryGrowth { beta, length }
        });
        let full = self.number(&keys::THETA)?;
        let factor = self.float("rope.scaling.factor").unwrap_or(1.0);
        let all = self.yarn_of_all(preset);
        Ok(RopeParameters {
            latent_scale: all.map_or(1.0, |all| yarn_magnitude(factor, all).powi(2)),
            dims,
            theta: theta
                .or(full.filter(|_| preset.positions == Positions::RotaryStretchedUnlessSliding))
                .unwrap_or(10_000.0),
            growth: growth.filter(|growth| growth.beta != 0.0),
            scaling: match rope_for {
                RopeFor::Full => self.scaling(preset, dims, context_length)?,
                RopeFor::Sliding => Scaling::None,
            },
        })
    }
}

impl Keys<'_> {
    /// YaRN's weight on the magnitude of all dimensions, which DeepSeek's files state as a tenth.
    fn yarn_of_all(&self, preset: &Preset) -> Option<f64> {
        let stated = self.float("rope.scaling.yarn_log_multiplier")?;
        Some(if preset.latent { 10.0 * stated } else { stated })
    }

    fn scaling(&self, preset: &Preset, dims: usize, context_length: usize) -> Result<Scaling> {
        let original = self
            .float("rope.scaling.original_context_length")
            .unwrap_or(context_length as f64);
        let magnitude = self.float("rope.scaling.attn_factor");
        if let Some(factors) = self.rope_factors("rope_freqs.weight", dims)? {
            return Ok(Scaling::PerPair {
                factors,
                magnitude: magnitude.unwrap_or(1.0),
                beyond: None,
            });
        }
        if let Some(factors) = self.rope_factors("rope_factors_short.weight", dims)? {
            let long = match context_length as f64 > original {
                true => self.rope_factors("rope_factors_long.weight", dims)?,
                false => None,
            };
            return Ok(Scaling::PerPair {
                factors,
                magnitude: magnitude
                    .unwrap_or_else(|| longrope_magnitude(context_length as f64, original)),
                beyond: long.map(|factors| (original as usize, factors)),
            });
        }
        let factor = self
            .float("rope.scaling.factor")
            .filter(|factor| *factor > 0.0);
        let kind = self.gguf.metadata().string(&self.full("rope.scaling.type"));
        match (kind, factor) {
            (None, None) | (Some("none"), _) => Ok(Scaling::None),
            (Some("linear") | None, Some(factor)) => Ok(Scaling::Linear { factor }),
            (Some("yarn"), Some(factor)) => Ok(Scaling::Yarn {
                factor,
                beta_fast: self.float("rope.scaling.yarn_beta_fast").unwrap_or(32.0),
                beta_slow: self.float("rope.scaling.yarn_beta_slow").unwrap_or(1.0),
                original_context: original,
                attention_factor: Some(magnitude.unwrap_or(1.0) * self.yarn_ratio(preset, factor)),
                truncate: preset.rounded_yarn,
            }),
            (Some(kind), factor) => {
                let reason = format!(
                    "rope scaling {kind:?} with factor {factor:?} is not supported: expected none, linear or yarn, the latter two with a factor"
                );
                Err(self.unsupported(reason))
            }
        }
    }

    /// YaRN's magnitude of what is rotated, in relation to that of all dimensions. Files state the weight of the latter alone;
    /// where DeepSeek's models have it, that of the former is the same.
    fn yarn_ratio(&self, preset: &Preset, factor: f64) -> f64 {
        match self.yarn_of_all(preset) {
            None => yarn_magnitude(factor, 1.0),
            Some(_) if preset.latent => 1.0,
            Some(all) => yarn_magnitude(factor, 1.0) / yarn_magnitude(factor, all),
        }
    }

    /// A factor for each pair of a rotary embedding, if the file has such a tensor.
    fn rope_factors(&self, name: &str, dims: usize) -> Result<Option<Vec<f64>>> {
        let Some(tensor) = self.gguf.tensor(name) else {
            return Ok(None);
        };
        let factors: Vec<f64> = dequantize(&tensor)?.into_iter().map(f64::from).collect();
        if factors.len() != dims / 2 || !factors.iter().all(|factor| *factor > 0.0) {
            let reason = format!("tensor `{name}` must hold {} positive numbers", dims / 2);
            return Err(Error::corrupt(self.file, reason));
        }
        Ok(Some(factors))
    }
}
