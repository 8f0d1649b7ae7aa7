//! Reads GGUF metadata.

mod ropes;

use std::fmt::Display;
use std::path::Path;

use super::build::build;
use super::keys::{self, Half, Key, KeyReader, LayerHeads};
use super::preset::{Preset, SlidingLayers, StateSpacePreset};
use super::spec::ModelSpec;
use super::variants::Scores;
use crate::backend::{Activation, GateOrder, Pairing};
use crate::error::{Error, Result};
use crate::weights::Checkpoint;
use crate::weights::gguf::{GgufFile, Value};

/// Reads the specification out of a GGUF file's metadata.
pub fn read(gguf: &GgufFile) -> Result<ModelSpec> {
    let keys = Keys::of(gguf, false)?;
    keys.read(keys.prefix)
}

/// The same of a draft head's file, whose layers, all that it has, are those of this architecture.
pub fn read_head(gguf: &GgufFile, architecture: &str) -> Result<ModelSpec> {
    Keys::of(gguf, true)?.read(architecture)
}

/// The key of what a router's logits count.
const GATING: &str = "expert_gating_func";

/// The metadata under one architecture's prefix.
struct Keys<'a> {
    gguf: &'a GgufFile,
    file: &'a Path,
    prefix: &'a str,
    /// Whether it is a draft head's.
    is_head: bool,
}

impl<'a> Keys<'a> {
    fn of(gguf: &'a GgufFile, is_head: bool) -> Result<Self> {
        let name = gguf.metadata().string("general.architecture");
        let prefix =
            name.ok_or_else(|| Error::corrupt(gguf.path(), "`general.architecture` is missing"))?;
        Ok(Self {
            gguf,
            file: gguf.path(),
            prefix,
            is_head,
        })
    }

    fn read(&self, architecture: &str) -> Result<ModelSpec> {
        let preset = Preset::from_gguf(architecture, self.scores())
            .ok_or_else(|| self.unsupported(Preset::refusal(architecture)))?;
        build(self, preset)
    }

    fn full(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn value(&self, key: &Key) -> Option<&Value> {
        self.gguf.metadata().get(&self.full(key.gguf?))
    }

    /// How many experts a layer has, or none.
    fn experts(&self) -> u64 {
        let value = self.value(&keys::EXPERTS);
        value.and_then(Value::as_integer).unwrap_or(0)
    }

    fn float(&self, name: &str) -> Option<f64> {
        let value = self.gguf.metadata().float(&self.full(name));
        value.filter(|value| value.is_finite())
    }

    fn size_of(&self, name: &str) -> Result<Option<usize>> {
        let value = match self.gguf.metadata().get(&self.full(name)) {
            // Some files give one entry a layer; only models with the same in each are run here.
            Some(Value::Array(values)) => {
                // Layers that are not attention have no heads.
                let may_lack = Some(name) == keys::KV_HEADS.gguf;
                let mut stated = values.iter().filter(|value| !may_lack || !is_zero(value));
                match stated.next() {
                    Some(first) if stated.all(|value| value == first) => first,
                    _ => {
                        let reason = "different values in different layers are not supported";
                        let name = self.full(name);
                        return Err(self.unsupported(format!("metadata `{name}`: {reason}")));
                    }
                }
            }
            Some(value) => value,
            None => return Ok(None),
        };
        self.checked_size(name, value).map(Some)
    }

    fn checked_size(&self, name: &str, value: &Value) -> Result<usize> {
        match value.as_integer() {
            Some(size) if (1..=keys::MAX_SIZE).contains(&size) => Ok(size as usize),
            _ => {
                let expected = format!("an integer in 1..={}", keys::MAX_SIZE);
                Err(self.wrong_value(name, &expected, &format!("{value:?}")))
            }
        }
    }

    fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::unsupported(self.file.display().to_string(), reason)
    }

    fn wrong_value(&self, name: &str, expected: &str, found: &dyn Display) -> Error {
        let name = self.full(name);
        let reason = format!("metadata `{name}` is {found}, expected {expected}");
        Error::corrupt(self.file, reason)
    }

    /// What the router's logits count, if there are experts: where the file doesn't say, that with a bias takes sigmoids.
    fn scores(&self) -> Option<Scores> {
        let stated = self.gguf.metadata().integer(&self.full(GATING));
        let is_biased = || {
            let names = self.gguf.names();
            names.iter().any(|name| name.contains("exp_probs_b"))
        };
        let scores = match stated {
            Some(1 | 3) => Scores::Softmax,
            Some(2) => Scores::Sigmoid,
            _ if is_biased() => Scores::Sigmoid,
            _ => Scores::Softmax,
        };
        (self.experts() > 0).then_some(scores)
    }

    /// Refuses a router other than the family's.
    fn check_scores(&self, scores: Scores) -> Result<()> {
        let stated = self.gguf.metadata().integer(&self.full(GATING));
        let known: &[u64] = match scores {
            // Zero: not stated; 3: the softmax of the chosen, which is the same where they are divided by their sum.
            Scores::Softmax => &[0, 1, 3],
            Scores::Sigmoid => &[0, 2],
        };
        match stated {
            Some(found) if !known.contains(&found) => {
                let expected = format!("one of {known:?} in this family");
                Err(self.wrong_value(GATING, &expected, &found))
            }
            _ => Ok(()),
        }
    }
}

impl KeyReader for Keys<'_> {
    fn size(&self, key: &Key) -> Result<Option<usize>> {
        key.gguf.map_or(Ok(None), |name| self.size_of(name))
    }

    fn layer_size(&self, key: &Key, layer: usize, layers: usize) -> Result<Option<usize>> {
        match (key.gguf, self.value(key)) {
            (Some(name), Some(Value::Array(list))) => match list.get(layer) {
                Some(size) if list.len() >= layers => self.checked_size(name, size).map(Some),
                _ => {
                    let found = format!("{} entries", list.len());
                    Err(self.wrong_value(name, "an entry a layer", &found))
                }
            },
            _ => self.size(key),
        }
    }

    fn heads_of(&self, layer: usize, slides: bool) -> Result<LayerHeads> {
        let head_dim = match slides {
            true => self.size_of("attention.key_length_swa")?,
            false => self.size_of("attention.key_length")?,
        };
        let kv_heads = match self.value(&keys::KV_HEADS) {
            Some(Value::Array(list)) => list.get(layer),
            value => value,
        };
        let name = keys::KV_HEADS.gguf.unwrap_or_default();
        let kv_heads = kv_heads.map(|heads| self.checked_size(name, heads));
        Ok(LayerHeads {
            head_dim,
            kv_heads: kv_heads.transpose()?,
        })
    }

    fn has_one_projection(&self, layer: usize, _slides: bool) -> bool {
        let has = |name: &str| {
            let tensor = self.gguf.tensor(&format!("blk.{layer}.{name}.weight"));
            tensor.is_some()
        };
        !has("attn_v") && !has("attn_qkv")
    }

    fn doubles_mlps(&self) -> bool {
        false
    }

    fn layer_inputs_vocab(&self) -> Result<Option<usize>> {
        let table = self.gguf.tensor("per_layer_token_embd.weight");
        Ok(table.and_then(|table| table.shape.first().copied()))
    }

    fn counts_prediction_layers(&self) -> bool {
        !self.is_head
    }

    fn groups_experts(&self) -> bool {
        true
    }

    fn number(&self, key: &Key) -> Result<Option<f64>> {
        let number = key.gguf.and_then(|name| self.float(name));
        // Zero stands for what is not stated.
        match number.filter(|number| *number != 0.0) {
            Some(number) if number < 0.0 => Err(self.wrong(key, "a positive number", &number)),
            number => Ok(number),
        }
    }

    fn flag(&self, key: &Key) -> Option<bool> {
        self.gguf.metadata().boolean(&self.full(key.gguf?))
    }

    fn says_none(&self, key: &Key) -> bool {
        let value = key.gguf.and_then(|name| self.float(name));
        value.is_some_and(|value| value <= 0.0)
    }

    fn is_zero(&self, key: &Key) -> bool {
        self.value(key).is_some_and(is_zero)
    }

    /// The embedding's rows say how many tokens there are; the metadata may leave it out.
    fn vocab_size(&self) -> Result<Option<usize>> {
        let embedding = self
            .gguf
            .tensor("token_embd.weight")
            .ok_or_else(|| Error::corrupt(self.file, "tensor `token_embd.weight` is missing"))?;
        Ok(Some(embedding.shape.first().copied().unwrap_or(0)))
    }

    fn activation(&self) -> Result<Option<Activation>> {
        Ok(None)
    }

    fn query_scalar(&self, head_dim: usize, share: usize, is_largest: bool) -> Result<f64> {
        let width = if is_largest { share } else { head_dim };
        Ok(width as f64)
    }

    /// By `sliding_window_pattern`: a flag a layer, or "every n-th layer is full". Without one, a window is every layer's,
    /// but in the families that have a pattern of their own.
    fn slides(&self, layer: usize, _layers: usize, preset: &Preset) -> Result<bool> {
        let has_window = self.value(&keys::WINDOW).is_some() || preset.window.is_some();
        if !has_window || self.says_none(&keys::WINDOW) {
            return Ok(false);
        }
        let key = &keys::SLIDING_PATTERN;
        let every = match self.value(key) {
            Some(Value::Array(flags)) => {
                return match flags.get(layer) {
                    Some(Value::Bool(flag)) => Ok(*flag),
                    Some(other) if other.as_integer().is_some() => {
                        Ok(other.as_integer() != Some(0))
                    }
                    _ => Err(self.wrong(key, "a flag for each layer", &"another list")),
                };
            }
            Some(value) => value.as_integer(),
            None => None,
        };
        Ok(match (every, preset.sliding) {
            (Some(0), _) => false,
            (Some(n), _) => SlidingLayers::AllButEvery(n as usize).contains(layer),
            (None, sliding @ (SlidingLayers::EveryOther | SlidingLayers::AllButEvery(_))) => {
                sliding.contains(layer)
            }
            (None, _) => true,
        })
    }

    /// A layer without heads for keys and values is no attention.
    fn is_recurrent(&self, layer: usize, _layers: usize) -> Result<bool> {
        let recurrent = self
            .gguf
            .metadata()
            .get(&self.full("attention.recurrent_layers"));
        if let Some(Value::Array(flags)) = recurrent {
            return Ok(matches!(flags.get(layer), Some(Value::Bool(true))));
        }
        if let Some(every) = self.size(&keys::FULL_INTERVAL)? {
            return Ok(!(layer + 1).is_multiple_of(every));
        }
        match self.value(&keys::KV_HEADS) {
            Some(Value::Array(heads)) => Ok(heads.get(layer).is_some_and(is_zero)),
            _ => Ok(false),
        }
    }

    fn half(&self, layer: usize, _layers: usize) -> Result<Half> {
        let is_zero_in = |key: &Key| match self.value(key) {
            Some(Value::Array(list)) => list.get(layer).is_none_or(is_zero),
            value => value.is_none_or(is_zero),
        };
        let router = format!("blk.{layer}.ffn_gate_inp.weight");
        Ok(match self.gguf.tensor(&router) {
            Some(_) => Half::Experts,
            None if !is_zero_in(&keys::KV_HEADS) => Half::Attention,
            None if !is_zero_in(&keys::INTERMEDIATE_SIZE) => Half::Mlp,
            None => Half::Recurrent,
        })
    }

    fn listed_layers(&self) -> Option<usize> {
        None
    }

    /// Converters fold them into weights.
    fn factors<const N: usize>(&self, _name: &str) -> Result<[f32; N]> {
        Ok([1.0; N])
    }

    fn step_limits(&self) -> Result<(f32, f32)> {
        Ok((0.0, f32::INFINITY))
    }

    fn gate_deviations(&self, layer: usize, _layers: usize) -> Result<Option<f32>> {
        let key = self.full("activation_sparsity_scale");
        let deviations = match self.gguf.metadata().get(&key) {
            Some(Value::Array(list)) => list.get(layer).and_then(Value::as_float),
            _ => None,
        };
        Ok(deviations
            .filter(|number| number.is_finite())
            .map(|number| number as f32))
    }

    fn laurel_rank(&self) -> Option<usize> {
        let left = self.gguf.tensor("blk.0.laurel_l.weight")?;
        left.shape.first().copied()
    }

    fn state_space_finish(&self, preset: StateSpacePreset) -> GateOrder {
        match preset.finish {
            // llama.cpp knows no other order.
            GateOrder::NoNorm if self.gguf.tensor("blk.0.ssm_norm.weight").is_some() => {
                GateOrder::GateFirst
            }
            finish => finish,
        }
    }

    fn is_converted(&self) -> bool {
        true
    }

    fn lacks_query_key_norm(&self) -> bool {
        self.gguf.tensor("blk.0.attn_q_norm.weight").is_none()
    }

    fn adjusted(&self, width: usize) -> Result<usize> {
        Ok(width)
    }

    fn has_experts(&self, layer: usize, _layers: usize) -> Result<bool> {
        let dense = self.value(&keys::DENSE_LAYERS).and_then(Value::as_integer);
        Ok(layer as u64 >= dense.unwrap_or(0))
    }

    fn states_rotated(&self, _layer: usize) -> Result<Option<bool>> {
        let key = self.full("rope.scaling.finetuned");
        Ok(self.gguf.metadata().boolean(&key))
    }

    fn pairing(&self, preset: &Preset) -> Pairing {
        preset.gguf_pairing
    }

    fn check(&self, preset: &Preset, head_dim: usize) -> Result<()> {
        const VALUE: &str = "attention.value_length";
        let experts = self.experts();
        if preset.experts.is_none() && experts > 0 {
            let reason = format!("a mixture of {experts} experts is not supported in this family");
            return Err(self.unsupported(reason));
        }
        if self
            .float("attention.clamp_kqv")
            .is_some_and(|clamp| clamp > 0.0)
        {
            return Err(self.unsupported(
                "clipped queries, keys and values (`attention.clamp_kqv`) are not supported",
            ));
        }
        let active = self.gguf.metadata().integer(&self.full("altup.active_idx"));
        if preset.streams && active.is_some_and(|active| active != 0) {
            let reason = "layers that compute on another part than the first (`altup.active_idx`) are not supported";
            return Err(self.unsupported(reason));
        }
        if let Some(experts) = preset.experts {
            self.check_scores(experts.scores)?;
        }
        match self.size_of(VALUE)? {
            Some(found) if found != head_dim && !preset.latent => {
                Err(self.wrong_value(VALUE, "the same as attention.key_length", &found))
            }
            _ => Ok(()),
        }
    }

    fn missing(&self, key: &Key) -> Error {
        let name = self.full(key.gguf.unwrap_or_default());
        Error::corrupt(self.file, format!("metadata `{name}` is missing"))
    }

    fn wrong(&self, key: &Key, expected: &str, found: &dyn Display) -> Error {
        self.wrong_value(key.gguf.unwrap_or_default(), expected, found)
    }
}

/// Of a layer that has no such thing.
fn is_zero(value: &Value) -> bool {
    value.as_integer() == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::config_json;

    #[test]
    fn both_readers_find_the_same_model() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let file = GgufFile::open(data.join("gguf/olmo2-BF16.gguf")).unwrap();
        let mut expected = config_json::read(&data.join("hf/olmo2/config.json")).unwrap();
        // Only config.json says whether the head is tied.
        expected.tied_head = None;
        assert_eq!(read(&file).unwrap(), expected);
    }
}
