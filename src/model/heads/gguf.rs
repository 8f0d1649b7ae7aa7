//! Heads in GGUF files (`eagle3`, `dflash`), read through the names and settings that they have elsewhere.

use std::path::Path;

use serde_json::{Value, json};

use super::files::HeadConfig;
use crate::error::{Error, Result};
use crate::weights::gguf::{GgufFile, Metadata};
use crate::weights::{Checkpoint, PackedTensor, StoredRows, StoredTensor};

/// Names of tensors of no layer: here, and elsewhere.
const NAMES: [(&str, &str); 6] = [
    ("token_embd.", "embed_tokens."),
    ("output_norm.", "norm."),
    ("output.", "lm_head."),
    ("markov_w1.", "markov_head.markov_w1."),
    ("markov_w2.", "markov_head.markov_w2."),
    ("conf_proj.", "confidence_head.proj."),
];

/// Names of tensors of layers.
const LAYER_NAMES: [(&str, &str); 12] = [
    ("attn_norm", "input_layernorm"),
    ("attn_norm_2", "hidden_norm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Settings that change what a head computes, and are not supported unless they are 0 or false.
const UNSUPPORTED: [&str; 10] = [
    "attention.causal",
    "attention.value_scale",
    "attention.sliding_window",
    "logit_scale",
    "final_logit_softcapping",
    "conv_kernel_size",
    "selector_rank",
    "hyper_connection.count",
    "rope.scaling.type",
    "rope.scaling.factor",
];

/// The architectures of heads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Eagle3,
    Block,
}

impl Kind {
    /// That of a file; `None`: it is no such head.
    pub(super) fn of(file: &GgufFile) -> Option<Self> {
        match file.metadata().string("general.architecture") {
            Some("eagle3") => Some(Self::Eagle3),
            Some("dflash") => Some(Self::Block),
            _ => None,
        }
    }
}

/// A head's file, read through other names.
struct Renamed {
    file: GgufFile,
    kind: Kind,
    /// Each tensor's name elsewhere, and here.
    names: Vec<(String, String)>,
}

/// The settings of a head's file, and its tensors by their names elsewhere.
pub(super) fn read(file: GgufFile, kind: Kind) -> Result<(HeadConfig, Box<dyn Checkpoint>)> {
    let names = file.names().into_iter();
    let names = names.map(|name| (elsewhere(name, kind), name.to_owned()));
    let renamed = Renamed {
        names: names.collect(),
        file,
        kind,
    };
    let path = renamed.file.path();
    let config = HeadConfig {
        value: renamed.config()?,
        source: path.to_owned(),
        file: path.to_owned(),
        is_interleaved: kind == Kind::Eagle3,
    };
    Ok((config, Box::new(renamed)))
}

/// A tensor's name elsewhere; its own where it has none there.
fn elsewhere(name: &str, kind: Kind) -> String {
    let fusion_norm = match kind {
        Kind::Eagle3 => "input_norm.",
        Kind::Block => "hidden_norm.",
    };
    if let Some(rest) = name.strip_prefix("enc.output_norm.") {
        return format!("{fusion_norm}{rest}");
    }
    let of_layer = || {
        let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
        let (part, end) = rest.rsplit_once('.')?;
        let (_, theirs) = LAYER_NAMES.iter().find(|(ours, _)| *ours == part)?;
        Some(format!("layers.{layer}.{theirs}.{end}"))
    };
    let alone = || {
        let (ours, theirs) = NAMES.iter().find(|(ours, _)| name.starts_with(ours))?;
        Some(format!("{theirs}{}", &name[ours.len()..]))
    };
    of_layer().or_else(alone).unwrap_or_else(|| name.to_owned())
}

impl Renamed {
    fn metadata(&self) -> &Metadata {
        self.file.metadata()
    }

    fn key(&self, name: &str) -> String {
        let architecture = match self.kind {
            Kind::Eagle3 => "eagle3",
            Kind::Block => "dflash",
        };
        format!("{architecture}.{name}")
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.metadata().integer(&self.key(name))
    }

    /// The name here of a tensor.
    fn here(&self, name: &str) -> Option<&str> {
        let (_, here) = self.names.iter().find(|(elsewhere, _)| elsewhere == name)?;
        Some(here)
    }

    /// The settings, as speculators would write them.
    fn config(&self) -> Result<Value> {
        self.refuse_unsupported()?;
        let metadata = self.metadata();
        let model = self.model_config()?;
        let target_layers = metadata.array(&self.key("target_layers"));
        let target_layers = target_layers.ok_or_else(|| self.missing("target_layers"))?;
        let target_layers = target_layers.iter().map(|layer| json!(layer.as_integer()));
        let target_layers: Vec<Value> = target_layers.collect();
        let flag = |name| {
            let flag = metadata.boolean(&self.key(name));
            flag.or_else(|| Some(self.number(name)? != 0))
        };
        let rank = self.tensor("markov_head.markov_w1.weight");
        let rank = rank.and_then(|table| table.shape.get(1).copied());
        let confidence = self.tensor("confidence_head.proj.weight");
        let reads_previous = confidence.is_some_and(|weights| {
            let width = weights.shape.last().map(|width| *width as u64);
            width != self.number("embedding_length")
        });
        Ok(match self.kind {
            Kind::Eagle3 => json!({
                "speculators_model_type": "eagle3",
                "transformer_layer_config": model,
                "eagle_aux_hidden_state_layer_ids": target_layers,
                "target_hidden_size": self.number("target_hidden_size"),
                "norm_before_residual": flag("norm_before_residual"),
                "norm_before_fc": flag("norm_before_fc"),
            }),
            Kind::Block => json!({
                "speculators_model_type": if rank.is_some() { "dspark" } else { "dflash" },
                "transformer_layer_config": model,
                "aux_hidden_state_layer_ids": target_layers,
                "block_size": self.number("block_size"),
                "mask_token_id": metadata.integer("tokenizer.ggml.mask_token_id"),
                "sample_from_anchor": flag("sample_from_anchor"),
                "markov_rank": rank,
                "confidence_head_with_markov": reads_previous,
            }),
        })
    }

    /// Refuses settings that change what a head computes and are not supported.
    fn refuse_unsupported(&self) -> Result<()> {
        let metadata = self.metadata();
        let unsupported = |reason: String| {
            let source = self.file.path().display().to_string();
            Err(Error::unsupported(source, reason))
        };
        for name in UNSUPPORTED {
            let key = self.key(name);
            let number = metadata.float(&key);
            let number = number.or_else(|| Some(self.number(name)? as f64));
            let is_unset = number == Some(0.0) || metadata.boolean(&key) == Some(false);
            if metadata.get(&key).is_some() && !is_unset {
                return unsupported(format!("it sets {key}, which is not supported"));
            }
        }
        let rotated = self.number("rope.dimension_count");
        match rotated.is_some_and(|rotated| Some(rotated) != self.number("attention.key_length")) {
            true => unsupported("it rotates a part of its heads, which is not supported".into()),
            false => Ok(()),
        }
    }

    /// The settings of its layers.
    fn model_config(&self) -> Result<Value> {
        let number = |name| self.number(name);
        let float = |name| {
            let value = self.metadata().float(&self.key(name));
            value.ok_or_else(|| self.missing(name))
        };
        let heads = number("attention.head_count");
        let width = number("embedding_length");
        let equal_shares = heads.zip(width);
        let equal_shares = equal_shares.and_then(|(heads, width)| width.checked_div(heads));
        let tokens = self.metadata().array("tokenizer.ggml.tokens");
        let tokens = tokens.map(|tokens| tokens.len() as u64);
        let model_type = match self.kind {
            Kind::Eagle3 => "llama",
            Kind::Block => "qwen3",
        };
        let mut settings = json!({
            "model_type": model_type,
            "hidden_act": "silu",
            "hidden_size": width,
            "num_hidden_layers": number("block_count"),
            "intermediate_size": number("feed_forward_length"),
            "num_attention_heads": heads,
            "num_key_value_heads": number("attention.head_count_kv").or(heads),
            "head_dim": number("attention.key_length").or(equal_shares),
            "rms_norm_eps": float("attention.layer_norm_rms_epsilon")?,
            "rope_theta": float("rope.freq_base")?,
            "max_position_embeddings": number("context_length"),
            "vocab_size": number("vocab_size").or(tokens),
        });
        if let Some(settings) = settings.as_object_mut() {
            settings.retain(|_, value| !value.is_null());
        }
        Ok(settings)
    }

    fn missing(&self, name: &str) -> Error {
        let reason = format!("metadata {} is missing, or of another type", self.key(name));
        Error::corrupt(self.file.path(), reason)
    }
}

impl Checkpoint for Renamed {
    fn names(&self) -> Vec<&str> {
        let names = self.names.iter();
        names.map(|(elsewhere, _)| elsewhere.as_str()).collect()
    }

    fn tensor(&self, name: &str) -> Option<StoredTensor<'_>> {
        self.file.tensor(self.here(name)?)
    }

    fn packed(&self, name: &str) -> Option<PackedTensor<'_>> {
        self.file.packed(self.here(name)?)
    }

    fn integers(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let targets = self.file.integers(name)?;
        // The target's tokens themselves; elsewhere, what is to be added to each of the head's.
        Ok(targets.map(|targets| {
            let pairs = targets.into_iter().zip(0..);
            pairs
                .map(|(target, token): (i64, i64)| target.saturating_sub(token))
                .collect()
        }))
    }

    fn rows(&self, name: &str) -> Option<StoredRows> {
        self.file.rows(self.here(name)?)
    }

    fn release(&self, tensor: &StoredTensor<'_>) {
        self.file.release(tensor);
    }

    fn file_of(&self, _name: &str) -> &Path {
        self.file.path()
    }
}
