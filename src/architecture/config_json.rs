//! Reads config.json, as older and newer versions of transformers write it.

mod config;
mod defaults;
mod ropes;
mod sparsity;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::path::Path;

use serde_json::{Map, Value};

use super::build::build;
use super::keys::{self, Half, Key, KeyReader, LayerHeads};
use super::preset::{Preset, SlidingLayers, StateSpacePreset};
use super::spec::ModelSpec;
use super::variants::Scores;
use crate::backend::{Activation, GateOrder, Pairing};
use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::json;
use crate::weights::safetensors::quantized;
use config::{Config, whole_number};
use sparsity::{normal_quantile, usual_sparsity};

/// Reads a `config.json`.
pub fn read(file: &Path) -> Result<ModelSpec> {
    let text = files::read_text(file, Small::Settings)?;
    parse(&text, file)
}

/// Parses the text of a `config.json`; `file` is named in errors.
pub fn parse(text: &str, file: &Path) -> Result<ModelSpec> {
    let value: Value = json::parse_config(file, text.as_bytes())?;
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
    // Refuses weights in packings other than those that are read here, by their method's name.
    quantized::method(&value, file)?;
    let preset = Preset::from_model_type(model_type).ok_or_else(|| {
        Error::unsupported(file.display().to_string(), Preset::refusal(model_type))
    })?;
    let config = Config {
        fields,
        defaults: defaults::of(preset),
        is_part: text_part.is_some(),
        file,
    };
    build(&config, preset)
}

/// What `layer_types` calls layers that are not attention.
const RECURRENT: [&str; 3] = ["conv", "linear_attention", "mamba"];

/// How routers choose experts (`topk_method`).
const CHOICES: [&str; 3] = ["greedy", "group_limited_greedy", "noaux_tc"];

impl Config<'_> {
    /// Refuses a router other than the family's.
    fn check_router(&self, preset: &Preset) -> Result<()> {
        let stated = |name: &str| self.field(name).and_then(Value::as_str);
        let scores = preset.experts.map(|experts| match experts.scores {
            Scores::Softmax => "softmax",
            Scores::Sigmoid => "sigmoid",
        });
        if let (Some(found), Some(expected)) = (stated("scoring_func"), scores)
            && found != expected
        {
            let expected = format!("{expected} in this family");
            return Err(self.wrong_value("scoring_func", &expected, &found));
        }
        match stated("topk_method").filter(|choice| !CHOICES.contains(choice)) {
            Some(found) => {
                let expected = format!("one of {}", CHOICES.join(", "));
                Err(self.wrong_value("topk_method", &expected, &found))
            }
            None => Ok(()),
        }
    }
}

impl KeyReader for Config<'_> {
    fn size(&self, key: &Key) -> Result<Option<usize>> {
        // Granite writes "auto" for what follows from other keys.
        let stated = self.value(key).filter(|(_, value)| *value != "auto");
        let size = stated.map(|(name, value)| self.checked_size(name, value));
        size.transpose()
    }

    fn counts_prediction_layers(&self) -> bool {
        false
    }

    fn groups_experts(&self) -> bool {
        self.field("topk_method").and_then(Value::as_str) != Some("greedy")
    }

    fn layer_size(&self, key: &Key, layer: usize, layers: usize) -> Result<Option<usize>> {
        match self.value(key) {
            Some((name, Value::Array(list))) => match list.get(layer) {
                Some(size) if list.len() == layers => self.checked_size(name, size).map(Some),
                _ => Err(self.wrong_value(name, "an entry a layer", &list.len())),
            },
            _ => self.size(key),
        }
    }

    fn heads_of(&self, layer: usize, slides: bool) -> Result<LayerHeads> {
        let size = |fields: &Map<String, Value>, name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(size) => self.checked_size(name, size).map(Some),
        };
        if let Some(layers) = self.object("per_layer_config") {
            let mut layers = layers.iter();
            let own = layers.find(|(number, _)| number.parse() == Ok(layer));
            return match own.and_then(|(_, fields)| fields.as_object()) {
                Some(fields) => Ok(LayerHeads {
                    head_dim: size(fields, "head_dim")?,
                    kv_heads: size(fields, "num_key_value_heads")?,
                }),
                None => Ok(LayerHeads::UNSTATED),
            };
        }
        if slides {
            return Ok(LayerHeads::UNSTATED);
        }
        Ok(LayerHeads {
            head_dim: Some(size(self.fields, "global_head_dim")?.unwrap_or(512)),
            kv_heads: match self.is_set("attention_k_eq_v") {
                true => size(self.fields, "num_global_key_value_heads")?,
                false => None,
            },
        })
    }

    fn has_one_projection(&self, _layer: usize, slides: bool) -> bool {
        !slides && self.is_set("attention_k_eq_v")
    }

    fn doubles_mlps(&self) -> bool {
        self.is_set("use_double_wide_mlp")
    }

    fn layer_inputs_vocab(&self) -> Result<Option<usize>> {
        self.size(&keys::LAYER_INPUTS_VOCAB)
    }

    fn number(&self, key: &Key) -> Result<Option<f64>> {
        let number = self
            .value(key)
            .map(|(name, value)| self.checked_number(name, value));
        number.transpose()
    }

    fn flag(&self, key: &Key) -> Option<bool> {
        self.value(key)?.1.as_bool()
    }

    fn says_none(&self, key: &Key) -> bool {
        let mut names = key.json.iter();
        // Older files write -1.
        let none = |value: &Value| value.is_null() || value.as_f64() == Some(-1.0);
        names.any(|name| self.fields.get(*name).is_some_and(none))
    }

    fn is_zero(&self, key: &Key) -> bool {
        let value = self.value(key);
        value.and_then(|(_, value)| whole_number(value)) == Some(0)
    }

    fn vocab_size(&self) -> Result<Option<usize>> {
        self.size(&keys::VOCAB_SIZE)
    }

    fn activation(&self) -> Result<Option<Activation>> {
        let Some(name) = self.value(&keys::ACTIVATION) else {
            return Ok(None);
        };
        let name = name.1.as_str().unwrap_or_default();
        Ok(Some(match name {
            "silu" | "swish" => Activation::Silu,
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "relu2" => Activation::ReluSquared,
            _ => {
                return Err(self.unsupported(format!(
                    "activation {name:?} is not among those supported: silu, gelu, gelu_new, gelu_pytorch_tanh, relu, relu2"
                )));
            }
        }))
    }

    fn query_scalar(&self, _head_dim: usize, _share: usize, _is_largest: bool) -> Result<f64> {
        Ok(self.number(&keys::QUERY_SCALAR)?.unwrap_or(256.0))
    }

    fn slides(&self, layer: usize, layers: usize, preset: &Preset) -> Result<bool> {
        if let Some(types) = self.list("layer_types") {
            if types.len() != layers {
                let expected = format!("{layers} entries");
                return Err(self.wrong_value("layer_types", &expected, &types.len()));
            }
            return match types[layer].as_str() {
                Some("sliding_attention") => Ok(true),
                Some("full_attention" | "attention") => Ok(false),
                Some(kind) if preset.recurrent.is_some() && RECURRENT.contains(&kind) => Ok(false),
                other => Err(self.unsupported(format!("layer type {other:?} is not supported"))),
            };
        }
        match preset.sliding {
            SlidingLayers::FromALayer => {
                let first = match self.field("max_window_layers") {
                    Some(value) if value.as_u64() == Some(0) => 0.0,
                    _ => self.positive("max_window_layers")?.unwrap_or(28.0),
                };
                Ok(self.is_set("use_sliding_window") && layer as f64 >= first)
            }
            SlidingLayers::AllButEvery(n) => {
                let n = self.size(&keys::SLIDING_PATTERN)?.unwrap_or(n);
                Ok(SlidingLayers::AllButEvery(n).contains(layer))
            }
            sliding => Ok(sliding.contains(layer)),
        }
    }

    fn is_recurrent(&self, layer: usize, layers: usize) -> Result<bool> {
        if let Some(types) = self.list("layer_types") {
            let kind = types.get(layer).and_then(Value::as_str).unwrap_or_default();
            return Ok(RECURRENT.contains(&kind));
        }
        if let Some(attention) = self.layer_list("full_attn_idxs", layers)? {
            return Ok(!attention.contains(&layer.into()));
        }
        match self.size(&keys::FULL_INTERVAL)? {
            Some(every) => Ok(!(layer + 1).is_multiple_of(every)),
            None => Err(Error::corrupt(self.file, "`layer_types` is missing")),
        }
    }

    fn half(&self, layer: usize, layers: usize) -> Result<Half> {
        const LIST: &str = "layers_block_type";
        const PATTERN: &str = "hybrid_override_pattern";
        let (name, kinds) = match self.fields.get(PATTERN).and_then(Value::as_str) {
            Some(pattern) => (PATTERN, pattern.chars().map(String::from).collect()),
            None => {
                let list = self.list(LIST).into_iter().flatten();
                let kinds = list.map(|kind| kind.as_str().unwrap_or_default().to_owned());
                (LIST, kinds.collect::<Vec<_>>())
            }
        };
        if kinds.len() != layers {
            let expected = format!("{layers} entries");
            return Err(self.wrong_value(name, &expected, &kinds.len()));
        }
        match kinds[layer].as_str() {
            "M" | "mamba" | "linear_attention" => Ok(Half::Recurrent),
            "*" | "attention" | "full_attention" => Ok(Half::Attention),
            "-" | "mlp" => Ok(Half::Mlp),
            "E" | "moe" => Ok(Half::Experts),
            other => Err(self.unsupported(format!("layer type {other:?} is not supported"))),
        }
    }

    fn listed_layers(&self) -> Option<usize> {
        self.list("layers_block_type").map(Vec::len)
    }

    fn factors<const N: usize>(&self, name: &str) -> Result<[f32; N]> {
        let Some(value) = self.field(name) else {
            return Ok([1.0; N]);
        };
        let stated: Option<Vec<f32>> = match value {
            Value::Array(list) => {
                let numbers = list.iter().map(|number| Some(number.as_f64()? as f32));
                numbers.collect()
            }
            number => number.as_f64().map(|number| vec![number as f32]),
        };
        let stated = stated.and_then(|factors| factors.try_into().ok());
        stated.ok_or_else(|| self.wrong_value(name, &format!("{N} numbers"), value))
    }

    fn step_limits(&self) -> Result<(f32, f32)> {
        // Infinity is written in several ways, none of them a number.
        let limits = self.list("time_step_limit").map(Vec::as_slice);
        let number = |value: &Value, other| value.as_f64().map_or(other, |number| number as f32);
        Ok(match limits {
            Some([least, most]) => (number(least, 0.0), number(most, f32::INFINITY)),
            _ => (0.0, f32::INFINITY),
        })
    }

    fn gate_deviations(&self, layer: usize, layers: usize) -> Result<Option<f32>> {
        const NAME: &str = "activation_sparsity_pattern";
        let share = match self.fields.get(NAME) {
            None | Some(Value::Null) => Some(usual_sparsity(layer, layers)),
            Some(Value::Array(list)) if list.len() != layers => None,
            Some(Value::Array(list)) => list.get(layer).and_then(Value::as_f64),
            Some(of_all) => of_all.as_f64(),
        };
        match share.filter(|share| (0.0..1.0).contains(share)) {
            Some(0.0) => Ok(None),
            Some(share) => Ok(Some(normal_quantile(share) as f32)),
            None => {
                let expected = "a share in [0, 1), or one for each layer";
                Err(self.wrong_value(NAME, expected, &self.fields[NAME]))
            }
        }
    }

    fn laurel_rank(&self) -> Option<usize> {
        None
    }

    fn state_space_finish(&self, preset: StateSpacePreset) -> GateOrder {
        let flag = |name: &str| self.field(name).and_then(Value::as_bool);
        match (flag("mamba_rms_norm"), flag("mamba_norm_before_gate")) {
            (Some(true), Some(false)) => GateOrder::GateFirst,
            (Some(true), _) => GateOrder::NormFirst,
            (Some(false), _) => GateOrder::NoNorm,
            (None, _) => preset.finish,
        }
    }

    fn is_converted(&self) -> bool {
        false
    }

    fn lacks_query_key_norm(&self) -> bool {
        !self.is_set("use_qk_norm")
    }

    /// LFM2 takes two thirds of it, times a factor, rounded up to a multiple.
    fn adjusted(&self, width: usize) -> Result<usize> {
        let adjusts = self.field("block_auto_adjust_ff_dim");
        if adjusts.and_then(Value::as_bool) == Some(false) {
            return Ok(width);
        }
        let factor = self.positive("block_ffn_dim_multiplier")?.unwrap_or(1.0);
        let multiple = self.positive("block_multiple_of")?.unwrap_or(256.0);
        let [adjusted, multiple] = [factor * (2 * width / 3) as f64, multiple]
            .map(|size| (size as usize).clamp(1, keys::MAX_SIZE as usize));
        let adjusted = adjusted.next_multiple_of(multiple);
        Ok(adjusted.min(keys::MAX_SIZE as usize))
    }

    fn has_experts(&self, layer: usize, layers: usize) -> Result<bool> {
        if let Some(types) = self.list("mlp_layer_types") {
            if types.len() != layers {
                let expected = format!("{layers} entries");
                return Err(self.wrong_value("mlp_layer_types", &expected, &types.len()));
            }
            return match types[layer].as_str() {
                Some("sparse") => Ok(true),
                Some("dense") => Ok(false),
                other => Err(self.unsupported(format!("MLP type {other:?} is not supported"))),
            };
        }
        let without = self.layer_list("mlp_only_layers", layers)?;
        let is_without = without.is_some_and(|layers| layers.contains(&layer.into()));
        let every = match self.field("decoder_sparse_step") {
            None => 1,
            Some(value) => whole_number(value)
                .filter(|every| *every > 0)
                .ok_or_else(|| {
                    self.wrong_value("decoder_sparse_step", "a positive integer", value)
                })?,
        };
        let dense = self.value(&keys::DENSE_LAYERS);
        let dense = dense
            .and_then(|(_, value)| whole_number(value))
            .unwrap_or(0);
        Ok(!is_without && (layer as u64 + 1).is_multiple_of(every) && layer as u64 >= dense)
    }

    fn states_rotated(&self, layer: usize) -> Result<Option<bool>> {
        // Despite the first key's name, 1 means that the layer has a rotary embedding.
        if let Some(kind) = self.field("position_embedding_type") {
            match kind.as_str() {
                Some("rope") => return Ok(Some(true)),
                Some("nope") => return Ok(Some(false)),
                // Of other families.
                _ => {}
            }
        }
        for name in ["no_rope_layers", "layer_rope_theta"] {
            if let Some(list) = self.list(name) {
                return match list.get(layer).and_then(Value::as_f64) {
                    Some(number) => Ok(Some(number != 0.0)),
                    None => Err(self.wrong_value(name, "a number for each layer", &list.len())),
                };
            }
        }
        let every = self.size(&keys::NO_ROPE_INTERVAL)?;
        Ok(every.map(|every| !(layer + 1).is_multiple_of(every)))
    }

    fn pairing(&self, preset: &Preset) -> Pairing {
        match self.field("rope_interleave").and_then(Value::as_bool) {
            Some(false) => Pairing::Halves,
            _ => preset.pairing,
        }
    }

    fn check(&self, preset: &Preset, _head_dim: usize) -> Result<()> {
        let experts = self.value(&keys::EXPERTS);
        let experts = experts
            .and_then(|(_, value)| whole_number(value))
            .unwrap_or(0);
        if preset.experts.is_none() && experts > 0 {
            let reason = format!("a mixture of {experts} experts is not supported in this family");
            return Err(self.unsupported(reason));
        }
        if preset.sliding == SlidingLayers::None && self.is_set("use_sliding_window") {
            return Err(self.unsupported("`use_sliding_window` is not supported in this family"));
        }
        if self
            .fields
            .get("clip_qkv")
            .is_some_and(|clip| !clip.is_null())
        {
            return Err(
                self.unsupported("clipped queries, keys and values (`clip_qkv`) are not supported")
            );
        }
        if self
            .fields
            .get("altup_active_idx")
            .and_then(Value::as_u64)
            .unwrap_or(0)
            != 0
        {
            let reason = "layers that compute on another part than the first (`altup_active_idx`) are not supported";
            return Err(self.unsupported(reason));
        }
        if self.fields.get("altup_correct_scale") == Some(&Value::Bool(false)) {
            let reason = "parts that are corrected without a scale (`altup_correct_scale`) are not supported";
            return Err(self.unsupported(reason));
        }
        let overrides = self.object("per_layer_config").into_iter().flatten();
        for (layer, fields) in overrides {
            let names = fields.as_object().into_iter().flatten();
            let known = ["head_dim", "num_key_value_heads"];
            for (name, _) in names {
                if !preset.heads_by_sliding || !known.contains(&name.as_str()) {
                    let reason = format!(
                        "`{name}` of layer {layer} alone (`per_layer_config`) is not supported"
                    );
                    return Err(self.unsupported(reason));
                }
            }
        }
        self.check_router(preset)?;
        let both_ways = self.fields.get("use_bidirectional_attention");
        if both_ways.and_then(Value::as_str) == Some("all") {
            return Err(self.unsupported("attention to later tokens is not supported"));
        }
        let thetas = self.list("layer_rope_theta").into_iter().flatten();
        let mut thetas = thetas.filter(|theta| theta.as_f64() != Some(0.0));
        let first = thetas.next();
        if thetas.any(|theta| Some(theta) != first) {
            let reason =
                "rotary embeddings of different bases (`layer_rope_theta`) are not supported";
            return Err(self.unsupported(reason));
        }
        Ok(())
    }

    fn missing(&self, key: &Key) -> Error {
        let names: Vec<String> = key.json.iter().map(|name| format!("`{name}`")).collect();
        Error::corrupt(self.file, format!("{} is missing", names.join(" or ")))
    }

    fn wrong(&self, key: &Key, expected: &str, found: &dyn Display) -> Error {
        let name = self.value(key).map(|(name, _)| name);
        let name = name.or(key.json.first().copied()).unwrap_or("");
        self.wrong_value(name, expected, found)
    }
}
