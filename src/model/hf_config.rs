//! config.json, as older and newer versions of transformers write it, to a [`ModelSpec`].

mod ropes;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::{Map, Value};

use super::spec::{Architecture, Biases, LayerSpec, ModelSpec, Residual};
use crate::backend::{Activation, AttentionShape, NormKind};
use crate::error::{Error, Result};
use ropes::RopeKinds;

/// Sizes past these are typing errors or attacks, not models.
const LARGEST_SIZE: usize = 1 << 24;
const MOST_LAYERS: usize = 1 << 12;

/// Reads a `config.json`.
pub fn read(file: &Path) -> Result<ModelSpec> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::io(file, source))?;
    parse(&text, file)
}

/// Parses the text of a `config.json`; `file` is named in errors.
pub fn parse(text: &str, file: &Path) -> Result<ModelSpec> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| Error::corrupt(file, error.to_string()))?;
    let object = value
        .as_object()
        .ok_or_else(|| Error::corrupt(file, "expected a JSON object"))?;
    // Multimodal checkpoints keep the decoder's part under a key of its own.
    let text_part = object.get("text_config").and_then(Value::as_object);
    let fields = text_part.unwrap_or(object);
    let model_type = fields
        .get("model_type")
        .or_else(|| object.get("model_type"))
        .and_then(Value::as_str)
        .ok_or_else(|| Error::corrupt(file, "`model_type` is missing"))?;
    let architecture = Architecture::from_model_type(model_type).ok_or_else(|| {
        let reason = format!(
            "architecture {model_type:?} is not among those supported: {}",
            Architecture::supported()
        );
        Error::unsupported(file.display().to_string(), reason)
    })?;
    Config {
        fields,
        file,
        architecture,
    }
    .spec()
}

/// A config.json's fields, with the defaults that transformers has for an absent one.
struct Config<'a> {
    fields: &'a Map<String, Value>,
    file: &'a Path,
    architecture: Architecture,
}

impl Config<'_> {
    fn spec(&self) -> Result<ModelSpec> {
        use Architecture as A;
        let a = self.architecture;
        let gemma = matches!(a, A::Gemma2 | A::Gemma3);
        let hidden_size = self.size(&["hidden_size", "n_embd"], gemma.then_some(2304))?;
        let heads = self.size(&["num_attention_heads", "n_head"], gemma.then_some(8))?;
        let kv_heads = self.kv_heads(heads)?;
        let head_dim = self.head_dim(hidden_size, heads)?;
        let layer_count = self.layer_count()?;
        let context_length = self.size(
            &["max_position_embeddings", "n_positions", "n_ctx"],
            Some(self.default_context()),
        )?;
        let (ropes, rope_kinds) = self.ropes(head_dim, context_length)?;
        let layers = (0..layer_count)
            .map(|layer| self.layer(layer, layer_count, &rope_kinds))
            .collect::<Result<Vec<_>>>()?;
        Ok(ModelSpec {
            architecture: a,
            vocab_size: self.size(&["vocab_size"], self.default_vocabulary())?,
            hidden_size,
            intermediate_size: self.intermediate_size(hidden_size)?,
            context_length,
            attention: AttentionShape {
                heads,
                kv_heads,
                head_dim,
                scale: self.attention_scale(head_dim)?,
                softcap: if a == A::Gemma2 {
                    self.cap("attn_logit_softcapping", Some(50.0))?
                } else {
                    self.cap("attn_logit_softcapping", None)?
                },
            },
            layers,
            ropes,
            norm: self.norm()?,
            activation: self.activation()?,
            gated: !matches!(a, A::Gpt2 | A::GptNeox),
            residual: if a == A::GptNeox && self.flag("use_parallel_residual").unwrap_or(true) {
                Residual::Parallel
            } else {
                Residual::Sequential
            },
            post_norms: gemma,
            head_norms: matches!(a, A::Qwen3 | A::Gemma3),
            learned_positions: a == A::Gpt2,
            biases: match a {
                A::Gpt2 => Biases::All,
                A::GptNeox if self.flag("attention_bias").unwrap_or(true) => Biases::All,
                A::Qwen2 => Biases::Qkv,
                _ => Biases::AsStored,
            },
            embedding_scale: if gemma {
                (hidden_size as f32).sqrt()
            } else {
                1.0
            },
            logit_softcap: self.cap("final_logit_softcapping", (a == A::Gemma2).then_some(30.0))?,
            tied_head: self.flag("tie_word_embeddings").or(match a {
                A::Gpt2 | A::Gemma2 | A::Gemma3 | A::SmolLm3 => Some(true),
                _ => None,
            }),
        })
    }

    fn default_context(&self) -> usize {
        match self.architecture {
            Architecture::Gpt2 => 1024,
            Architecture::Llama | Architecture::GptNeox => 2048,
            Architecture::Phi3 => 4096,
            Architecture::Gemma2 => 8192,
            Architecture::Gemma3 | Architecture::Mistral => 131_072,
            _ => 32_768,
        }
    }

    fn default_vocabulary(&self) -> Option<usize> {
        match self.architecture {
            Architecture::Gemma2 => Some(256_000),
            Architecture::Gemma3 => Some(262_208),
            _ => None,
        }
    }

    fn layer_count(&self) -> Result<usize> {
        let gemma = matches!(
            self.architecture,
            Architecture::Gemma2 | Architecture::Gemma3
        );
        let count = self.size(&["num_hidden_layers", "n_layer"], gemma.then_some(26))?;
        if count > MOST_LAYERS {
            return Err(self.wrong(
                "num_hidden_layers",
                &format!("at most {MOST_LAYERS}"),
                &count,
            ));
        }
        Ok(count)
    }

    fn kv_heads(&self, heads: usize) -> Result<usize> {
        let default = match self.architecture {
            Architecture::Gemma2 | Architecture::Gemma3 => 4,
            Architecture::Mistral => 8,
            _ => heads,
        };
        let kv_heads = self.size(&["num_key_value_heads"], Some(default))?;
        if !heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of the {heads} query heads");
            return Err(self.wrong("num_key_value_heads", &expected, &kv_heads));
        }
        Ok(kv_heads)
    }

    fn head_dim(&self, hidden_size: usize, heads: usize) -> Result<usize> {
        let default = match self.architecture {
            Architecture::Gemma2 | Architecture::Gemma3 => 256,
            Architecture::Qwen3 => 128,
            _ => hidden_size / heads,
        };
        let head_dim = self.size(&["head_dim"], Some(default))?;
        if !head_dim.is_multiple_of(2) {
            return Err(self.wrong("head_dim", "an even number", &head_dim));
        }
        Ok(head_dim)
    }

    fn intermediate_size(&self, hidden_size: usize) -> Result<usize> {
        let default = match self.architecture {
            Architecture::Gpt2 | Architecture::GptNeox => Some(4 * hidden_size),
            Architecture::Gemma2 | Architecture::Gemma3 => Some(9216),
            _ => None,
        };
        self.size(&["intermediate_size", "n_inner"], default)
    }

    fn attention_scale(&self, head_dim: usize) -> Result<f32> {
        if self.flag("scale_attn_by_inverse_layer_idx") == Some(true) {
            let reason = "attention scaled by the layer's index is not supported";
            return Err(Error::unsupported(self.file.display().to_string(), reason));
        }
        let width = match self.architecture {
            Architecture::Gemma2 | Architecture::Gemma3 => {
                self.number("query_pre_attn_scalar")?.unwrap_or(256.0)
            }
            _ => head_dim as f64,
        };
        if self.flag("scale_attn_weights") == Some(false) {
            return Ok(1.0);
        }
        Ok(width.powf(-0.5) as f32)
    }

    fn norm(&self) -> Result<NormKind> {
        let epsilon = ["rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps"]
            .iter()
            .find_map(|key| self.number(key).transpose())
            .transpose()?;
        Ok(match self.architecture {
            Architecture::Gpt2 | Architecture::GptNeox => {
                NormKind::Layer(epsilon.unwrap_or(1e-5) as f32)
            }
            Architecture::Phi3 => NormKind::Rms(epsilon.unwrap_or(1e-5) as f32),
            _ => NormKind::Rms(epsilon.unwrap_or(1e-6) as f32),
        })
    }

    fn activation(&self) -> Result<Activation> {
        let default = match self.architecture {
            Architecture::Gpt2 => "gelu_new",
            Architecture::GptNeox => "gelu",
            Architecture::Gemma2 | Architecture::Gemma3 => "gelu_pytorch_tanh",
            _ => "silu",
        };
        let name = ["hidden_activation", "hidden_act", "activation_function"]
            .iter()
            .find_map(|key| self.fields.get(*key).and_then(Value::as_str))
            .unwrap_or(default);
        Ok(match name {
            "silu" | "swish" => Activation::Silu,
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            _ => {
                let reason = format!(
                    "activation {name:?} is not among those supported: silu, gelu, gelu_new, gelu_pytorch_tanh, relu"
                );
                return Err(Error::unsupported(self.file.display().to_string(), reason));
            }
        })
    }

    fn layer(&self, layer: usize, count: usize, ropes: &RopeKinds) -> Result<LayerSpec> {
        let sliding = self.is_sliding(layer, count)?;
        let window = if sliding { self.window()? } else { None };
        let rope = if sliding { ropes.sliding } else { ropes.full };
        Ok(LayerSpec {
            window,
            rope: if self.uses_rope(layer)? { rope } else { None },
        })
    }

    fn is_sliding(&self, layer: usize, count: usize) -> Result<bool> {
        if let Some(kinds) = self.fields.get("layer_types").and_then(Value::as_array) {
            if kinds.len() != count {
                return Err(self.wrong("layer_types", &format!("{count} entries"), &kinds.len()));
            }
            return match kinds[layer].as_str() {
                Some("sliding_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                other => {
                    let reason = format!("layer type {other:?} is not supported");
                    Err(Error::unsupported(self.file.display().to_string(), reason))
                }
            };
        }
        Ok(match self.architecture {
            Architecture::Gemma2 => layer.is_multiple_of(2),
            Architecture::Gemma3 => {
                let pattern = self.size(
                    &["sliding_window_pattern", "_sliding_window_pattern"],
                    Some(6),
                )?;
                !(layer + 1).is_multiple_of(pattern)
            }
            Architecture::Qwen2 | Architecture::Qwen3 | Architecture::SmolLm3 => {
                let first = self.number("max_window_layers")?.unwrap_or(28.0);
                self.flag("use_sliding_window") == Some(true) && layer as f64 >= first
            }
            Architecture::Mistral | Architecture::Phi3 => true,
            _ => false,
        })
    }

    /// `sliding_window`, where null means none and absent means the architecture's default.
    fn window(&self) -> Result<Option<usize>> {
        match self.fields.get("sliding_window") {
            Some(Value::Null) => Ok(None),
            Some(_) => Ok(Some(self.size(&["sliding_window"], None)?)),
            None => Ok(match self.architecture {
                Architecture::Gemma2 | Architecture::Gemma3 | Architecture::Mistral => Some(4096),
                _ => None,
            }),
        }
    }

    fn uses_rope(&self, layer: usize) -> Result<bool> {
        if self.architecture != Architecture::SmolLm3 {
            return Ok(true);
        }
        if let Some(list) = self.fields.get("no_rope_layers").and_then(Value::as_array) {
            // Despite the key's name, 1 means that the layer has a rotary embedding.
            return match list.get(layer).and_then(Value::as_u64) {
                Some(flag) => Ok(flag != 0),
                None => Err(self.wrong("no_rope_layers", "an entry a layer", &list.len())),
            };
        }
        let interval = self.size(&["no_rope_layer_interval"], Some(4))?;
        Ok(!(layer + 1).is_multiple_of(interval))
    }

    /// A positive integer under any of its names.
    fn size(&self, keys: &[&str], default: Option<usize>) -> Result<usize> {
        let present = keys.iter().find_map(|key| {
            self.fields
                .get(*key)
                .filter(|v| !v.is_null())
                .map(|v| (*key, v))
        });
        match (present, default) {
            (Some((key, value)), _) => match value.as_u64() {
                Some(size) if size > 0 && size <= LARGEST_SIZE as u64 => Ok(size as usize),
                _ => Err(self.wrong(key, &format!("an integer in 1..={LARGEST_SIZE}"), value)),
            },
            (None, Some(default)) => Ok(default),
            (None, None) => {
                let reason = format!("`{}` is missing", keys.first().unwrap_or(&""));
                Err(Error::corrupt(self.file, reason))
            }
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number > 0.0 => Ok(Some(number)),
                _ if key == "max_window_layers" && value.as_u64() == Some(0) => Ok(Some(0.0)),
                _ => Err(self.wrong(key, "a positive number", value)),
            },
        }
    }

    /// A soft cap, where null means none.
    fn cap(&self, key: &str, default: Option<f32>) -> Result<Option<f32>> {
        match self.fields.get(key) {
            Some(Value::Null) => Ok(None),
            Some(_) => Ok(self.number(key)?.map(|cap| cap as f32)),
            None => Ok(default),
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.fields.get(key).and_then(Value::as_bool)
    }

    fn object(&self, key: &str) -> Option<&Map<String, Value>> {
        self.fields.get(key).and_then(Value::as_object)
    }

    fn wrong(&self, key: &str, expected: &str, found: &dyn std::fmt::Display) -> Error {
        Error::corrupt(
            self.file,
            format!("`{key}` is {found}, expected {expected}"),
        )
    }
}
