//! A block drafter's files: DFlash's and DSpark's own layouts, and that of speculators.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::markov::MarkovSpec;
use crate::architecture::ModelSpec;
use crate::error::Result;
use crate::model::heads::files::HeadConfig;
use crate::model::heads::misfit_of_layers;
use crate::weights::Checkpoint;

/// The most tokens of a block.
const MAX_BLOCK: usize = 64;

/// A block drafter's opened files.
pub struct BlockFiles {
    /// The head's folder or file.
    pub(super) source: PathBuf,
    pub(super) spec: ModelSpec,
    pub(super) checkpoint: Box<dyn Checkpoint>,
    /// The layers of the target before which its hidden states are captured.
    pub(super) captured: Vec<usize>,
    /// The target's layers, where the file says.
    pub(super) target_layers: Option<usize>,
    pub(super) block_size: usize,
    pub(super) mask_token: u32,
    /// Whether the state of the block's first row gives a draft, too.
    pub(super) sample_from_anchor: bool,
    pub(super) markov: Option<MarkovSpec>,
}

impl BlockFiles {
    /// Opens a head.
    pub(in crate::model::heads) fn open(
        config: &HeadConfig,
        checkpoint: Box<dyn Checkpoint>,
    ) -> Result<Self> {
        let is_speculators = config.speculators_type().is_some();
        let value = &config.value;
        let model = match is_speculators {
            true => &value["transformer_layer_config"],
            false => value,
        };
        let names = checkpoint.names();
        let has = |name: &str| names.contains(&name);
        let own = &value["dflash_config"];
        let find = |name: &str| match &own[name] {
            Value::Null => value[name].clone(),
            nested => nested.clone(),
        };
        let number = |name: &str, most: usize| {
            let value = find(name);
            let number = value
                .as_u64()
                .and_then(|number| usize::try_from(number).ok());
            let number = number.filter(|number| *number <= most);
            number.ok_or_else(|| config.wrong(name, &format!("a number up to {most}"), &value))
        };
        // A layer's number stands for what comes out of it, but for what goes into it among speculators.
        let [own_ids, others_ids] = ["target_layer_ids", "aux_hidden_state_layer_ids"];
        let captured = match (find(own_ids), find(others_ids)) {
            (Value::Null, layers) if !layers.is_null() => config.layers(others_ids, &layers, 0)?,
            (layers, _) => config.layers(own_ids, &layers, 1)?,
        };
        let block_size = number("block_size", MAX_BLOCK)?;
        let sample_from_anchor = match find("sample_from_anchor") {
            Value::Bool(flag) => flag,
            Value::Null => !is_speculators && has("markov_head.markov_w1.weight"),
            other => return Err(config.wrong("sample_from_anchor", "true or false", &other)),
        };
        if block_size < 2 {
            let value = find("block_size");
            return Err(config.wrong("block_size", "at least 2", &value));
        }
        let markov = match has("markov_head.markov_w1.weight") {
            false => None,
            true => Some(MarkovSpec {
                rank: number("markov_rank", 1 << 16)?,
                confidence: has("confidence_head.proj.weight")
                    .then(|| config.flag("confidence_head_with_markov"))
                    .transpose()?,
            }),
        };
        if let Some(kind) = find("markov_head_type").as_str()
            && kind != "vanilla"
        {
            let reason =
                format!("its markov_head_type is {kind:?}, and only \"vanilla\" is supported");
            return Err(config.unsupported(reason));
        }
        refuse_further_settings(config, model)?;
        let spec = config.spec(model)?;
        let mut attentions = spec
            .layers
            .iter()
            .filter_map(|layer| layer.mixer.attention());
        if is_speculators && attentions.any(|attention| attention.window.is_some()) {
            // They count a window from the block's first row, others from each row.
            let reason = "its layers have sliding windows, which are not supported in the layout of speculators";
            return Err(config.unsupported(reason));
        }
        let layers = spec.layers.len();
        if let Some(name) = names.iter().find(|name| !is_known(name, layers)) {
            let reason = format!("it has the tensor {name:?}, which no supported head has");
            return Err(config.unsupported(reason));
        }
        Ok(Self {
            source: config.source.clone(),
            spec,
            captured,
            target_layers: match &value["num_target_layers"] {
                Value::Null => None,
                _ => Some(number("num_target_layers", 1 << 16)?),
            },
            block_size,
            mask_token: number("mask_token_id", u32::MAX as usize)? as u32,
            sample_from_anchor,
            markov,
            checkpoint,
        })
    }

    /// Whether a config.json is of such a head.
    pub(in crate::model::heads) fn is_one(config: &HeadConfig) -> bool {
        let kinds = ["dflash", "dspark"];
        let architecture = config.architecture().to_ascii_lowercase();
        match config.speculators_type() {
            Some(kind) => kinds.contains(&kind),
            None => kinds.iter().any(|kind| architecture.contains(kind)),
        }
    }

    /// What reports call it.
    pub(in crate::model::heads) fn kind(&self) -> &'static str {
        match self.markov {
            Some(_) => "dspark",
            None => "dflash",
        }
    }

    /// The folder or file.
    pub(in crate::model::heads) fn source(&self) -> &Path {
        &self.source
    }

    /// The hidden size and the vocabulary size of its targets.
    pub(in crate::model::heads) fn target_shape(&self) -> [usize; 2] {
        [self.spec.hidden_size, self.spec.vocab_size]
    }

    /// Why its layers or its mask token do not fit a target; `None`: they fit.
    pub(in crate::model::heads) fn misfit(&self, target: &ModelSpec) -> Option<String> {
        let (layers, tokens) = (target.layers.len(), target.vocab_size);
        if let Some(stated) = self.target_layers.filter(|stated| *stated != layers) {
            return Some(format!(
                "it is for targets of {stated} layers, and this one has {layers}"
            ));
        }
        let mask = self.mask_token;
        misfit_of_layers(target, &self.captured).or_else(|| {
            (mask as usize >= tokens).then(|| {
                format!("its mask_token_id, {mask}, is none of the target's {tokens} tokens")
            })
        })
    }
}

/// Refuses settings that change what a head computes and are not supported: scales, caps, convolutions, causal blocks.
fn refuse_further_settings(config: &HeadConfig, model: &Value) -> Result<()> {
    const KNOWN: [&str; 4] = [
        "mask_token_id",
        "target_layer_ids",
        "block_size",
        "sample_from_anchor",
    ];
    const OF_MODEL: [&str; 4] = [
        "is_causal",
        "output_multiplier",
        "final_logit_softcapping",
        "input_embedding_scale",
    ];
    let is_unset = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
    let own = config.value["dflash_config"].as_object();
    let own = own.into_iter().flatten();
    let own = own.filter(|(name, _)| !KNOWN.contains(&name.as_str()));
    let of_model = OF_MODEL.map(|name| (name, &model[name]));
    let of_head = OF_MODEL.map(|name| (name, &config.value[name]));
    let mut further = own
        .map(|(name, value)| (name.as_str(), value))
        .chain(of_model)
        .chain(of_head)
        .filter(|(_, value)| !is_unset(value));
    if let Some((name, value)) = further.next() {
        let reason = format!("its config.json sets {name} to {value}, which is not supported");
        return Err(config.unsupported(reason));
    }
    match config.source.join("mask_embedding.pt").exists() {
        true => Err(config.unsupported("it has a mask_embedding.pt, which is not supported")),
        false => Ok(()),
    }
}

/// Whether a supported head of so many layers may have a tensor of this name.
fn is_known(name: &str, layers: usize) -> bool {
    const NAMES: [&str; 12] = [
        "fc.weight",
        "fc.bias",
        "hidden_norm.weight",
        "norm.weight",
        "embed_tokens.weight",
        "lm_head.weight",
        "markov_head.markov_w1.weight",
        "markov_head.markov_w2.weight",
        "confidence_head.proj.weight",
        "confidence_head.proj.bias",
        "d2t",
        "t2d",
    ];
    const PARTS: [&str; 11] = [
        "input_layernorm",
        "post_attention_layernorm",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "self_attn.q_norm",
        "self_attn.k_norm",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ];
    let of_layer = || {
        let (layer, rest) = name.strip_prefix("layers.")?.split_once('.')?;
        let (part, end) = rest.rsplit_once('.')?;
        let is_there = layer.parse::<usize>().is_ok_and(|layer| layer < layers);
        let ends_well = end == "weight" || (end == "bias" && part.ends_with("proj"));
        Some(is_there && ends_well && PARTS.contains(&part))
    };
    NAMES.contains(&name) || of_layer() == Some(true)
}
