//! GGUF metadata to a [`ModelSpec`].

use std::path::Path;

use super::rope::{Scaling, yarn_magnitude};
use super::spec::{Architecture, Biases, LayerSpec, ModelSpec, Residual};
use crate::backend::{Activation, AttentionShape, NormKind, Pairing, Rope};
use crate::error::{Error, Result};
use crate::weights::gguf::{GgufFile, Value};
use crate::weights::{Checkpoint, dequantize};

/// Sizes past this are typing errors or attacks, not models.
const LARGEST_SIZE: u64 = 1 << 24;
const MOST_LAYERS: usize = 1 << 12;

/// Reads the specification out of a GGUF file's metadata.
pub fn read(gguf: &GgufFile) -> Result<ModelSpec> {
    let file = gguf.path();
    let name = gguf
        .metadata()
        .string("general.architecture")
        .ok_or_else(|| Error::corrupt(file, "`general.architecture` is missing"))?;
    let architecture = Architecture::from_gguf(name).ok_or_else(|| {
        let reason = format!(
            "architecture {name:?} is not among those supported: {}",
            Architecture::supported()
        );
        Error::unsupported(file.display().to_string(), reason)
    })?;
    Keys {
        gguf,
        file,
        prefix: name,
        architecture,
    }
    .spec()
}

/// The metadata under one architecture's prefix.
struct Keys<'a> {
    gguf: &'a GgufFile,
    file: &'a Path,
    prefix: &'a str,
    architecture: Architecture,
}

impl Keys<'_> {
    fn spec(&self) -> Result<ModelSpec> {
        use Architecture as A;
        let a = self.architecture;
        let gemma = matches!(a, A::Gemma2 | A::Gemma3);
        let hidden_size = self.size("embedding_length", None)?;
        let layer_count = self.size("block_count", None)?;
        if layer_count > MOST_LAYERS {
            return Err(self.wrong("block_count", &format!("at most {MOST_LAYERS}")));
        }
        let heads = self.size("attention.head_count", None)?;
        let kv_heads = self.size("attention.head_count_kv", Some(heads))?;
        let head_dim = self.size("attention.key_length", Some(hidden_size / heads))?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(self.wrong(
                "attention.head_count_kv",
                "a divisor of attention.head_count",
            ));
        }
        if self.size("attention.value_length", Some(head_dim))? != head_dim {
            return Err(self.wrong("attention.value_length", "the same as attention.key_length"));
        }
        if !head_dim.is_multiple_of(2) {
            return Err(self.wrong("attention.key_length", "an even number"));
        }
        let context_length = self.size("context_length", None)?;
        let ropes = self.ropes(head_dim, context_length)?;
        let epsilon = self.number("attention.layer_norm_rms_epsilon");
        let layer_epsilon = self.number("attention.layer_norm_epsilon");
        Ok(ModelSpec {
            architecture: a,
            vocab_size: self.vocabulary()?,
            hidden_size,
            intermediate_size: self.size("feed_forward_length", None)?,
            context_length,
            attention: AttentionShape {
                heads,
                kv_heads,
                head_dim,
                scale: self.attention_scale(hidden_size, heads, head_dim, layer_count),
                softcap: self.cap("attn_logit_softcapping", (a == A::Gemma2).then_some(50.0)),
            },
            layers: (0..layer_count)
                .map(|layer| self.layer(layer, ropes.len()))
                .collect::<Result<_>>()?,
            ropes,
            norm: match a {
                A::Gpt2 | A::GptNeox => NormKind::Layer(layer_epsilon.unwrap_or(1e-5) as f32),
                _ => NormKind::Rms(epsilon.unwrap_or(1e-6) as f32),
            },
            activation: match a {
                A::Gpt2 | A::Gemma2 | A::Gemma3 => Activation::GeluTanh,
                A::GptNeox => Activation::Gelu,
                _ => Activation::Silu,
            },
            gated: !matches!(a, A::Gpt2 | A::GptNeox),
            residual: match self
                .gguf
                .metadata()
                .boolean(&self.key("use_parallel_residual"))
            {
                Some(true) | None if a == A::GptNeox => Residual::Parallel,
                _ => Residual::Sequential,
            },
            post_norms: gemma,
            head_norms: matches!(a, A::Qwen3 | A::Gemma3),
            learned_positions: a == A::Gpt2,
            biases: match a {
                A::Gpt2 | A::GptNeox => Biases::All,
                A::Qwen2 => Biases::Qkv,
                _ => Biases::AsStored,
            },
            embedding_scale: if gemma {
                (hidden_size as f32).sqrt()
            } else {
                1.0
            },
            logit_softcap: self.cap("final_logit_softcapping", (a == A::Gemma2).then_some(30.0)),
            tied_head: None,
        })
    }

    /// The embedding's rows say how many tokens there are; the metadata may leave it out.
    fn vocabulary(&self) -> Result<usize> {
        let embedding = self
            .gguf
            .tensor("token_embd.weight")
            .ok_or_else(|| Error::corrupt(self.file, "tensor `token_embd.weight` is missing"))?;
        Ok(embedding.shape.first().copied().unwrap_or(0))
    }

    /// Gemma's largest models scale by the width of a head's share of the stream, the rest by the head's own.
    fn attention_scale(&self, hidden: usize, heads: usize, head_dim: usize, layers: usize) -> f32 {
        let width = match (self.architecture, layers) {
            (Architecture::Gemma2, 46) | (Architecture::Gemma3, 62) => hidden / heads,
            _ => head_dim,
        };
        (width as f32).powf(-0.5)
    }

    fn ropes(&self, head_dim: usize, context_length: usize) -> Result<Vec<Rope>> {
        let dims = self.size("rope.dimension_count", Some(head_dim))?;
        if dims > head_dim || !dims.is_multiple_of(2) {
            return Err(self.wrong("rope.dimension_count", &format!("even, at most {head_dim}")));
        }
        // Converters permute the Llama family's heads so that pairs lie side by side.
        let pairing = match self.architecture {
            Architecture::Llama | Architecture::Mistral | Architecture::SmolLm3 => {
                Pairing::Interleaved
            }
            _ => Pairing::Halves,
        };
        let theta = self.number("rope.freq_base").unwrap_or(10_000.0);
        if !(theta.is_finite() && theta > 1.0) {
            return Err(self.wrong("rope.freq_base", "a number above 1"));
        }
        let scaling = self.scaling(dims, context_length)?;
        match self.architecture {
            Architecture::Gpt2 => Ok(Vec::new()),
            Architecture::Gemma3 => {
                let local = self.number("rope.freq_base_swa").unwrap_or(10_000.0);
                Ok(vec![
                    Scaling::None.rope(dims, local, pairing),
                    scaling.rope(dims, theta, pairing),
                ])
            }
            _ => Ok(vec![scaling.rope(dims, theta, pairing)]),
        }
    }

    fn scaling(&self, dims: usize, context_length: usize) -> Result<Scaling> {
        let original = self
            .number("rope.scaling.original_context_length")
            .unwrap_or(context_length as f64);
        let long = context_length as f64 > original;
        let per_pair = if long {
            "rope_factors_long.weight"
        } else {
            "rope_factors_short.weight"
        };
        for name in ["rope_freqs.weight", per_pair] {
            let Some(tensor) = self.gguf.tensor(name) else {
                continue;
            };
            let factors: Vec<f64> = dequantize(&tensor)?.into_iter().map(f64::from).collect();
            if factors.len() != dims / 2 || !factors.iter().all(|factor| *factor > 0.0) {
                let reason = format!("tensor `{name}` must hold {} positive numbers", dims / 2);
                return Err(Error::corrupt(self.file, reason));
            }
            let stretch = context_length as f64 / original;
            let magnitude = self.number("rope.scaling.attn_factor").unwrap_or({
                if name == per_pair && stretch > 1.0 {
                    (1.0 + stretch.ln() / original.ln()).sqrt()
                } else {
                    1.0
                }
            });
            return Ok(Scaling::PerPair { factors, magnitude });
        }
        let factor = self
            .number("rope.scaling.factor")
            .filter(|factor| *factor > 0.0);
        let kind = self.gguf.metadata().string(&self.key("rope.scaling.type"));
        match (kind, factor) {
            (None, None) | (Some("none"), _) => Ok(Scaling::None),
            (Some("linear") | None, Some(factor)) => Ok(Scaling::Linear { factor }),
            (Some("yarn"), Some(factor)) => Ok(Scaling::Yarn {
                factor,
                beta_fast: self.number("rope.scaling.yarn_beta_fast").unwrap_or(32.0),
                beta_slow: self.number("rope.scaling.yarn_beta_slow").unwrap_or(1.0),
                original_context: original,
                attention_factor: self
                    .number("rope.scaling.attn_factor")
                    .map(|extra| extra * yarn_magnitude(factor, 1.0)),
                truncate: true,
            }),
            (Some(kind), factor) => {
                let reason = format!(
                    "rope scaling {kind:?} with factor {factor:?} is not supported: expected none, linear or yarn, the latter two with a factor"
                );
                Err(Error::unsupported(self.file.display().to_string(), reason))
            }
        }
    }

    fn layer(&self, layer: usize, ropes: usize) -> Result<LayerSpec> {
        let default = (self.architecture == Architecture::Gemma2).then_some(4096.0);
        let window = self.number("attention.sliding_window").or(default);
        let window = window
            .filter(|window| *window >= 1.0)
            .map(|window| window as usize);
        let sliding = window.is_some() && self.is_sliding(layer)?;
        let rope = match (self.architecture, ropes) {
            (_, 0) => None,
            (Architecture::SmolLm3, _) if (layer + 1).is_multiple_of(4) => None,
            (Architecture::Gemma3, _) => Some(usize::from(!sliding)),
            _ => Some(0),
        };
        Ok(LayerSpec {
            window: window.filter(|_| sliding),
            rope,
        })
    }

    /// `sliding_window_pattern`: a flag a layer, or "every n-th layer is full".
    fn is_sliding(&self, layer: usize) -> Result<bool> {
        let key = "attention.sliding_window_pattern";
        let every = match self.gguf.metadata().get(&self.key(key)) {
            Some(Value::Array(flags)) => {
                return match flags.get(layer) {
                    Some(Value::Bool(flag)) => Ok(*flag),
                    Some(other) if other.as_integer().is_some() => {
                        Ok(other.as_integer() != Some(0))
                    }
                    _ => Err(self.wrong(key, "a flag for each layer")),
                };
            }
            Some(value) => value.as_integer(),
            None => None,
        };
        Ok(match (every, self.architecture) {
            (Some(0), _) => false,
            (Some(every), _) => !(layer as u64 + 1).is_multiple_of(every),
            (None, Architecture::Gemma2) => layer.is_multiple_of(2),
            (None, Architecture::Gemma3) => !(layer + 1).is_multiple_of(6),
            (None, _) => true,
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn size(&self, name: &str, default: Option<usize>) -> Result<usize> {
        match (self.gguf.metadata().get(&self.key(name)), default) {
            // Some files give one entry a layer; only models with the same in each are run here.
            (Some(Value::Array(values)), _) => match values.first() {
                Some(first) if values.iter().all(|value| value == first) => {
                    self.checked(name, first.as_integer())
                }
                _ => Err(self.wrong(name, "the same value in every layer")),
            },
            (Some(value), _) => self.checked(name, value.as_integer()),
            (None, Some(default)) => Ok(default),
            (None, None) => {
                let reason = format!("metadata `{}` is missing", self.key(name));
                Err(Error::corrupt(self.file, reason))
            }
        }
    }

    fn checked(&self, name: &str, value: Option<u64>) -> Result<usize> {
        match value {
            Some(size) if (1..=LARGEST_SIZE).contains(&size) => Ok(size as usize),
            _ => Err(self.wrong(name, &format!("an integer in 1..={LARGEST_SIZE}"))),
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.gguf
            .metadata()
            .float(&self.key(name))
            .filter(|value| value.is_finite())
    }

    fn cap(&self, name: &str, default: Option<f32>) -> Option<f32> {
        match self.number(name) {
            Some(cap) => (cap > 0.0).then_some(cap as f32),
            None => default,
        }
    }

    fn wrong(&self, name: &str, expected: &str) -> Error {
        let found = self.gguf.metadata().get(&self.key(name));
        Error::corrupt(
            self.file,
            format!(
                "metadata `{}` is {found:?}, expected {expected}",
                self.key(name)
            ),
        )
    }
}
