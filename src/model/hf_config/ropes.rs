//! Rotary embeddings, as older and newer configurations describe them.

use serde_json::{Map, Value};

use super::Config;
use crate::backend::{Pairing, Rope};
use crate::error::{Error, Result};
use crate::model::rope::{Scaling, yarn_magnitude};
use crate::model::spec::Architecture;

/// Which rotary embedding the layers of each kind use.
pub(super) struct RopeKinds {
    pub(super) sliding: Option<usize>,
    pub(super) full: Option<usize>,
}

impl RopeKinds {
    fn none() -> Self {
        Self {
            sliding: None,
            full: None,
        }
    }
}

impl Config<'_> {
    /// The rotary embeddings, and the index of those that sliding and full layers use.
    pub(super) fn ropes(
        &self,
        head_dim: usize,
        context_length: usize,
    ) -> Result<(Vec<Rope>, RopeKinds)> {
        let parameters = self.object("rope_parameters");
        match self.architecture {
            Architecture::Gpt2 => Ok((Vec::new(), RopeKinds::none())),
            Architecture::Gemma3 => {
                let part = |kind| {
                    parameters
                        .and_then(|all| all.get(kind))
                        .and_then(Value::as_object)
                };
                let sliding_theta = self.number("rope_local_base_freq")?.unwrap_or(10_000.0);
                let sliding = match part("sliding_attention") {
                    Some(fields) => {
                        self.rope(Some(fields), sliding_theta, head_dim, context_length)?
                    }
                    None => Scaling::None.rope(head_dim, sliding_theta, Pairing::Halves),
                };
                let full_fields = part("full_attention").or_else(|| self.object("rope_scaling"));
                let full = self.rope(full_fields, 1e6, head_dim, context_length)?;
                Ok((
                    vec![sliding, full],
                    RopeKinds {
                        sliding: Some(0),
                        full: Some(1),
                    },
                ))
            }
            _ => {
                let fields = parameters.or_else(|| self.object("rope_scaling"));
                let theta = match self.architecture {
                    Architecture::SmolLm3 => 2e6,
                    _ => 10_000.0,
                };
                let rope = self.rope(fields, theta, head_dim, context_length)?;
                Ok((
                    vec![rope],
                    RopeKinds {
                        sliding: Some(0),
                        full: Some(0),
                    },
                ))
            }
        }
    }

    /// One rotary embedding from `rope_parameters` (newer) or `rope_scaling` with the rest at the top (older).
    fn rope(
        &self,
        fields: Option<&Map<String, Value>>,
        default_theta: f64,
        head_dim: usize,
        context_length: usize,
    ) -> Result<Rope> {
        let number = |key: &str| fields.and_then(|f| f.get(key)).and_then(Value::as_f64);
        let theta = match number("rope_theta") {
            Some(theta) => theta,
            None => ["rope_theta", "rotary_emb_base"]
                .iter()
                .find_map(|key| self.number(key).transpose())
                .transpose()?
                .unwrap_or(default_theta),
        };
        if !(theta.is_finite() && theta > 1.0) {
            return Err(self.wrong("rope_theta", "a number above 1", &theta));
        }
        let fraction = match number("partial_rotary_factor") {
            Some(fraction) => fraction,
            None => ["partial_rotary_factor", "rotary_pct"]
                .iter()
                .find_map(|key| self.number(key).transpose())
                .transpose()?
                .unwrap_or(if self.architecture == Architecture::GptNeox {
                    0.25
                } else {
                    1.0
                }),
        };
        let dims = (head_dim as f64 * fraction) as usize / 2 * 2;
        if dims == 0 || dims > head_dim {
            return Err(self.wrong("partial_rotary_factor", "a fraction in (0, 1]", &fraction));
        }
        let scaling = self.scaling(fields, dims, context_length)?;
        Ok(scaling.rope(dims, theta, Pairing::Halves))
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
        let kind = fields.get("rope_type").or_else(|| fields.get("type"));
        let kind = kind.and_then(Value::as_str).unwrap_or("default");
        let optional = |key: &str| fields.get(key).and_then(Value::as_f64);
        let positive = |key: &str| match optional(key) {
            Some(value) if value.is_finite() && value > 0.0 => Ok(value),
            Some(value) => Err(self.wrong(key, "a positive number", &value)),
            None => {
                let reason = format!("rope scaling {kind:?} needs `{key}`");
                Err(Error::corrupt(self.file, reason))
            }
        };
        let original = |default: f64| {
            optional("original_max_position_embeddings")
                .or_else(|| {
                    self.fields
                        .get("original_max_position_embeddings")?
                        .as_f64()
                })
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
                // transformers switches at run time; a cache computed with one set of factors
                // can't be continued with the other, so the trained length decides here.
                let long = context_length as f64 > original;
                let key = if long { "long_factor" } else { "short_factor" };
                let factors = self.factors(fields, key, dims / 2)?;
                let stretch = context_length as f64 / original;
                let magnitude = optional("attention_factor").unwrap_or_else(|| {
                    if stretch <= 1.0 {
                        1.0
                    } else {
                        (1.0 + stretch.ln() / original.ln()).sqrt()
                    }
                });
                Ok(Scaling::PerPair { factors, magnitude })
            }
            other => {
                let reason = format!(
                    "rope scaling {other:?} is not among those supported: default, linear, llama3, yarn, longrope"
                );
                Err(Error::unsupported(self.file.display().to_string(), reason))
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
