//! Rotary embeddings, as older and newer configurations describe them.

use serde_json::{Map, Value};

use super::config::Config;
use crate::architecture::keys::{self, KeyReader, RopeFor, RopeParameters, RopeReader};
use crate::architecture::preset::{Positions, Preset};
use crate::architecture::rope::{Scaling, longrope_magnitude, yarn_magnitude};
use crate::backend::QueryGrowth;
use crate::error::{Error, Result};

/// The base of its frequencies, where neither file nor family has one.
const THETA: f64 = 10_000.0;

impl RopeReader for Config<'_> {
    /// From `rope_parameters` (newer; of a family with two, one for each type of layer), or from
    /// `rope_scaling` with the rest at the top (older).
    fn rope(
        &self,
        rope_for: RopeFor,
        preset: &'static Preset,
        head_dim: usize,
        context_length: usize,
    ) -> Result<RopeParameters> {
        let older = self.object("rope_scaling");
        let newer = self.object("rope_parameters");
        let default = self.defaults.get("rope_parameters");
        let default = default.and_then(Value::as_object);
        let one = |fields, default| self.one_rope(fields, default, head_dim, context_length);
        match (preset.positions, rope_for) {
            (Positions::RotaryBySliding, RopeFor::Full) => {
                const TYPE: &str = "full_attention";
                one(of_type(newer, TYPE).or(older), of_type(default, TYPE))
            }
            (Positions::RotaryBySliding, RopeFor::Sliding) => {
                const TYPE: &str = "sliding_attention";
                let default = of_type(default, TYPE);
                match of_type(newer, TYPE) {
                    Some(fields) => one(Some(fields), default),
                    None => {
                        let stated = self.number(&keys::SLIDING_THETA)?;
                        Ok(RopeParameters {
                            dims: head_dim,
                            theta: stated.or(number(default, "rope_theta")).unwrap_or(THETA),
                            scaling: Scaling::None,
                            latent_scale: 1.0,
                            growth: None,
                        })
                    }
                }
            }
            (Positions::RotaryStretchedUnlessSliding, RopeFor::Full) => {
                const TYPE: &str = "full_attention";
                let stated = of_type(newer, TYPE).or(newer).or(older);
                one(stated, of_type(default, TYPE))
            }
            (Positions::RotaryStretchedUnlessSliding, RopeFor::Sliding) => {
                const TYPE: &str = "sliding_attention";
                let default = of_type(default, TYPE);
                match of_type(newer, TYPE) {
                    Some(fields) => one(Some(fields), default),
                    None => Ok(RopeParameters {
                        scaling: Scaling::None,
                        ..one(newer.or(older), default)?
                    }),
                }
            }
            _ => one(newer.or(older), default),
        }
    }
}

impl Config<'_> {
    /// From what the file states of a rotary embedding, and what the family takes where it states nothing.
    fn one_rope(
        &self,
        stated: Option<&Map<String, Value>>,
        default: Option<&Map<String, Value>>,
        head_dim: usize,
        context_length: usize,
    ) -> Result<RopeParameters> {
        let or_above = |name: &str, key| match number(stated, name) {
            Some(number) => Ok(Some(number)),
            None => Ok::<_, Error>(self.number(key)?.or(number(default, name))),
        };
        let mut theta = or_above("rope_theta", &keys::THETA)?.unwrap_or(THETA);
        let fraction = or_above("partial_rotary_factor", &keys::ROTARY_FRACTION)?.unwrap_or(1.0);
        let fields = stated.or(default);
        let number = |key| number(fields, key);
        if !(fraction > 0.0 && fraction <= 1.0) {
            let expected = "a fraction in (0, 1]";
            return Err(self.wrong(&keys::ROTARY_FRACTION, expected, &fraction));
        }
        let is_proportional = rope_type(fields) == "proportional";
        let dims = match is_proportional {
            true => head_dim,
            false => (head_dim as f64 * fraction) as usize / 2 * 2,
        };
        if dims == 0 {
            let expected = format!("at least 2 of a head's {head_dim} elements");
            return Err(self.wrong(&keys::ROTARY_FRACTION, &expected, &fraction));
        }
        // Hunyuan's, which is the same for all lengths.
        let alpha = number("alpha").filter(|_| rope_type(fields) == "dynamic");
        let scaling = match alpha {
            Some(alpha) => {
                theta *= alpha.powf(dims as f64 / (dims as f64 - 2.0));
                Scaling::None
            }
            None if is_proportional => Scaling::Proportional { fraction },
            None => self.scaling(fields, dims, context_length)?,
        };
        let original = number("original_max_position_embeddings");
        let growth = number("llama_4_scaling_beta").map(|beta| QueryGrowth {
            beta,
            length: original.map_or(context_length, |length| length as usize),
        });
        let all = number("mscale_all_dim").filter(|_| rope_type(fields) == "yarn");
        let latent_scale = match (all, number("factor")) {
            (Some(all), Some(factor)) => yarn_magnitude(factor, all).powi(2),
            _ => 1.0,
        };
        Ok(RopeParameters {
            dims,
            theta,
            scaling,
            latent_scale,
            growth,
        })
    }

    fn scaling(
        &self,
        fields: Option<&Map<String, Value>>,
        dims: usize,
        context_length: usize,
    ) -> Result<Scaling> {
        let Some(fields) = fields else {
            return Ok(Scaling::None);
        };
        let kind = rope_type(Some(fields));
        let optional = |key: &str| fields.get(key).and_then(Value::as_f64);
        let positive = |key: &str| match optional(key) {
            Some(value) if value.is_finite() && value > 0.0 => Ok(value),
            Some(value) => Err(self.wrong_value(key, "a positive number", &value)),
            None => {
                let reason = format!("rope scaling {kind:?} needs `{key}`");
                Err(Error::corrupt(self.file, reason))
            }
        };
        let original = |default: f64| {
            optional("original_max_position_embeddings")
                .or_else(|| self.field("original_max_position_embeddings")?.as_f64())
                .unwrap_or(default)
        };
        match kind {
            "default" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear {
                factor: positive("factor")?,
            }),
            "llama3" => Ok(Scaling::Llama3 {
                factor: positive("factor")?,
                low_freq_factor: positive("low_freq_factor")?,
                high_freq_factor: positive("high_freq_factor")?,
                original_context: positive("original_max_position_embeddings")?,
            }),
            "yarn" => {
                let factor = positive("factor")?;
                let attention_factor = optional("attention_factor").or_else(|| {
                    let mscale = optional("mscale")?;
                    let all = optional("mscale_all_dim")?;
                    Some(yarn_magnitude(factor, mscale) / yarn_magnitude(factor, all))
                });
                Ok(Scaling::Yarn {
                    factor,
                    beta_fast: optional("beta_fast").unwrap_or(32.0),
                    beta_slow: optional("beta_slow").unwrap_or(1.0),
                    original_context: original(context_length as f64),
                    attention_factor,
                    truncate: fields
                        .get("truncate")
                        .and_then(Value::as_bool)
                        .unwrap_or(true),
                })
            }
            "longrope" | "su" => {
                let original = original(context_length as f64);
                let magnitude = optional("attention_factor")
                    .unwrap_or_else(|| longrope_magnitude(context_length as f64, original));
                let beyond = match context_length as f64 > original {
                    true => Some((
                        original as usize,
                        self.factors(fields, "long_factor", dims / 2)?,
                    )),
                    false => None,
                };
                Ok(Scaling::PerPair {
                    factors: self.factors(fields, "short_factor", dims / 2)?,
                    magnitude,
                    beyond,
                })
            }
            other => {
                let reason = format!(
                    "rope scaling {other:?} is not among those supported: default, linear, llama3, yarn, longrope, proportional"
                );
                Err(self.unsupported(reason))
            }
        }
    }

    fn factors(&self, fields: &Map<String, Value>, key: &str, count: usize) -> Result<Vec<f64>> {
        let factors: Option<Vec<f64>> = fields
            .get(key)
            .and_then(Value::as_array)
            .and_then(|list| list.iter().map(Value::as_f64).collect());
        match factors {
            Some(factors) if factors.len() == count && factors.iter().all(|f| *f > 0.0) => {
                Ok(factors)
            }
            _ => {
                let reason = format!("`{key}` must be a list of {count} positive numbers");
                Err(Error::corrupt(self.file, reason))
            }
        }
    }
}

/// What is stated of layers of a type.
fn of_type<'a>(all: Option<&'a Map<String, Value>>, name: &str) -> Option<&'a Map<String, Value>> {
    all?.get(name)?.as_object()
}

fn number(fields: Option<&Map<String, Value>>, key: &str) -> Option<f64> {
    fields?.get(key)?.as_f64()
}

/// How a rotary embedding is stretched.
fn rope_type(fields: Option<&Map<String, Value>>) -> &str {
    let kind = fields.and_then(|fields| fields.get("rope_type").or_else(|| fields.get("type")));
    kind.and_then(Value::as_str).unwrap_or("default")
}
