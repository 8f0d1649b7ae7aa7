//! A published head's files: EAGLE's own layout, and that of speculators.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::architecture::ModelSpec;
use crate::error::{Error, Result};
use crate::model::heads::files::HeadConfig;
use crate::model::heads::misfit_of_layers;
use crate::weights::Checkpoint;

const SUPPORTED: &str = "only those of EAGLE, EAGLE-3, P-EAGLE, DFlash and DSpark are supported: use one of them, or another draft";

/// What P-EAGLE's heads read in place of the target's hidden states.
const MASK_HIDDEN: &str = "mask_hidden";

/// How many tokens a pass of theirs drafts where config.json does not say it, and at most.
const DEFAULT_DRAFTS: usize = 8;
const MAX_DRAFTS: usize = 64;

/// The parts of a head's layer.
const LAYER_PARTS: [&str; 11] = [
    "input_layernorm",
    "hidden_norm",
    "post_attention_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "self_attn.rotary_emb",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// A published head's opened files.
pub struct EagleFiles {
    /// The head's folder or file.
    pub(super) source: PathBuf,
    pub(super) spec: ModelSpec,
    pub(super) checkpoint: Box<dyn Checkpoint>,
    pub(super) kind: Kind,
    /// How many layers follow the first.
    pub(super) further_layers: usize,
    /// Whether the head has an embedding of its own.
    pub(super) has_embedding: bool,
    /// The target's hidden size, where it is not the head's.
    target_hidden_size: Option<usize>,
}

/// What a head computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// EAGLE, and EAGLE-2.
    Eagle,
    /// EAGLE-3.
    Eagle3(Eagle3),
}

/// What EAGLE-3's heads differ in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Eagle3 {
    /// The layers of the target before which its hidden states are captured; `None`: a low, a middle and a high one.
    pub(super) captured: Option<Vec<usize>>,
    /// Whether a norm precedes the matrix over the target's hidden states (EAGLE-3.1).
    pub(super) norm_before_fusion: bool,
    /// Whether the layer adds to the feature after its norm, not before.
    pub(super) norm_before_residual: bool,
    /// Whether the feature of the next token is what follows the last norm, not what precedes it.
    pub(super) norm_output: bool,
    /// P-EAGLE: the token that stands for one to come, and how many tokens a pass drafts.
    pub(super) masks: Option<(u32, usize)>,
}

impl EagleFiles {
    /// Opens a head.
    pub(in crate::model::heads) fn open(
        config: &HeadConfig,
        checkpoint: Box<dyn Checkpoint>,
    ) -> Result<Self> {
        let names = checkpoint.names();
        if let Some(reason) = other_kind(config, &names) {
            return Err(config.unsupported(reason));
        }
        let is_speculators = config.speculators_type().is_some();
        let has = |name: &str| names.contains(&name);
        let is_eagle3 = names
            .iter()
            .any(|name| name.starts_with("midlayer.") || name.ends_with(".hidden_norm.weight"));
        let model = match is_speculators {
            true => &config.value["transformer_layer_config"],
            false => &config.value,
        };
        if let Some(name) = ["use_aux_hidden_state", "use_input_layernorm_in_first_layer"]
            .into_iter()
            .find(|name| config.value["eagle_config"][name] == Value::Bool(false))
        {
            let reason = format!("its eagle_config sets {name} to false, which is not supported");
            return Err(config.unsupported(reason));
        }
        let kind = match is_eagle3 || is_speculators {
            false => Kind::Eagle,
            true => Kind::Eagle3(Eagle3 {
                captured: captured(config)?,
                norm_before_fusion: config.flag("norm_before_fc")? || has("input_norm.weight"),
                norm_before_residual: config.flag("norm_before_residual")?,
                norm_output: config.flag("norm_output")?,
                masks: match has(MASK_HIDDEN) {
                    true => Some(masks(config)?),
                    false => None,
                },
            }),
        };
        let spec = config.spec(model)?;
        let further_layers = further_layers(&names);
        if further_layers > 0 && (further_layers + 1 != spec.layers.len() || kind == Kind::Eagle) {
            let reason = format!(
                "it has tensors of {further_layers} layers after the first, and its config.json says {} layers",
                spec.layers.len()
            );
            return Err(config.unsupported(reason));
        }
        Ok(Self {
            source: config.source.clone(),
            spec,
            further_layers,
            kind,
            // In EAGLE's own layout it is a copy of the target's.
            has_embedding: is_speculators && has("embed_tokens.weight"),
            target_hidden_size: config.value["target_hidden_size"]
                .as_u64()
                .and_then(|size| usize::try_from(size).ok()),
            checkpoint,
        })
    }

    pub(super) fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::unsupported(self.source.display().to_string(), reason)
    }

    /// What reports call it.
    pub(in crate::model::heads) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Eagle => "eagle",
            Kind::Eagle3(Eagle3 { masks: Some(_), .. }) => "peagle",
            Kind::Eagle3(_) => "eagle3",
        }
    }

    /// The folder or file.
    pub(in crate::model::heads) fn source(&self) -> &Path {
        &self.source
    }

    /// The hidden size and the vocabulary size of its targets.
    pub(in crate::model::heads) fn target_shape(&self) -> [usize; 2] {
        [self.target_hidden_size(), self.spec.vocab_size]
    }

    /// Why its layers do not fit a target; `None`: they fit.
    pub(in crate::model::heads) fn misfit(&self, target: &ModelSpec) -> Option<String> {
        let mask = match &self.kind {
            Kind::Eagle3(eagle3) => eagle3.masks.map(|(mask, _)| mask),
            Kind::Eagle => None,
        };
        let tokens = target.vocab_size;
        if let Some(mask) = mask.filter(|mask| *mask as usize >= tokens) {
            return Some(format!(
                "its mask token, {mask}, is none of the target's {tokens} tokens"
            ));
        }
        misfit_of_layers(target, &self.captured(target.layers.len()))
    }

    /// The layers of a target of so many before which its hidden states are captured.
    pub(super) fn captured(&self, layers: usize) -> Vec<usize> {
        match &self.kind {
            Kind::Eagle => vec![layers],
            Kind::Eagle3(eagle3) => match &eagle3.captured {
                Some(captured) => captured.clone(),
                None => vec![2, layers / 2, layers.saturating_sub(3)],
            },
        }
    }

    /// The width of the target's hidden states.
    pub(super) fn target_hidden_size(&self) -> usize {
        self.target_hidden_size.unwrap_or(self.spec.hidden_size)
    }

    /// What precedes the names of the layer's tensors.
    pub(super) fn layer(&self) -> &'static str {
        let names = self.checkpoint.names();
        match names.iter().any(|name| name.starts_with("midlayer.")) {
            true => "midlayer",
            false => "layers.0",
        }
    }
}

/// Why a head is not one of EAGLE's or EAGLE-3's; `None`: it is.
fn other_kind(config: &HeadConfig, names: &[&str]) -> Option<String> {
    if let Some(kind) = config.speculators_type()
        && !["eagle3", "peagle"].contains(&kind)
    {
        return Some(format!(
            "it is a head of speculators' kind {kind:?}, and {SUPPORTED}"
        ));
    }
    let architecture = config.architecture();
    let foreign = names.iter().find(|name| !is_eagles(name))?;
    let kind = match architecture {
        "" => String::new(),
        architecture => format!(" (config.json says {architecture:?})"),
    };
    Some(format!(
        "it has the tensor {foreign:?}, as no head of EAGLE's has{kind}, and {SUPPORTED}"
    ))
}

/// Whether a head of EAGLE's or EAGLE-3's may have a tensor of this name.
fn is_eagles(name: &str) -> bool {
    if ["d2t", "t2d", MASK_HIDDEN].contains(&name) {
        return true;
    }
    let (name, end) = name.rsplit_once('.').unwrap_or((name, ""));
    let may_have = match end {
        "weight" => true,
        "bias" => name == "fc" || name.ends_with("_proj"),
        "inv_freq" => name.ends_with("rotary_emb"),
        _ => false,
    };
    if !may_have {
        return false;
    }
    if let Some((_, part)) = of_further_layer(name) {
        return part != "hidden_norm" && LAYER_PARTS.contains(&part);
    }
    let layers = ["layers.0.", "midlayer."];
    match layers.iter().find_map(|layer| name.strip_prefix(layer)) {
        Some(part) => LAYER_PARTS.contains(&part),
        None => ["fc", "embed_tokens", "input_norm", "norm", "lm_head"].contains(&name),
    }
}

/// The number of a layer after the first, and the name of a part of it; `None`: the name is of another tensor.
fn of_further_layer(name: &str) -> Option<(usize, &str)> {
    let (number, part) = name.strip_prefix("layers.")?.split_once('.')?;
    let number = number.parse().ok()?;
    (number > 0).then_some((number, part))
}

/// How many layers follow the first.
fn further_layers(names: &[&str]) -> usize {
    let numbers = names.iter().filter_map(|name| of_further_layer(name));
    numbers.map(|(number, _)| number).max().unwrap_or(0)
}

/// The token that stands for one to come in P-EAGLE's heads, and how many tokens a pass drafts: as many as were trained.
fn masks(config: &HeadConfig) -> Result<(u32, usize)> {
    let value = &config.value;
    let keys = ["mask_token_id", "pard_token", "ptd_token_id"];
    let name = keys.into_iter().find(|key| !value[key].is_null());
    let name = name.unwrap_or(keys[0]);
    let token = value[name].as_u64();
    let token = token.and_then(|token| u32::try_from(token).ok());
    let token = token.ok_or_else(|| config.wrong(name, "a token's number", &value[name]))?;
    let stated = &value["num_depths"];
    if stated.is_null() {
        return Ok((token, DEFAULT_DRAFTS));
    }
    let drafts = stated
        .as_u64()
        .and_then(|drafts| usize::try_from(drafts).ok());
    let drafts = drafts.filter(|drafts| (1..=MAX_DRAFTS).contains(drafts));
    let expected = format!("a number from 1 to {MAX_DRAFTS}");
    let drafts = drafts.ok_or_else(|| config.wrong("num_depths", &expected, stated))?;
    Ok((token, drafts))
}

/// The layers of the target before which config.json has its hidden states captured.
fn captured(config: &HeadConfig) -> Result<Option<Vec<usize>>> {
    const NAME: &str = "eagle_aux_hidden_state_layer_ids";
    // Under `eagle_config` a layer's number stands for what comes out of it.
    let nested = &config.value["eagle_config"][NAME];
    let (layers, further) = match nested {
        Value::Null => (&config.value[NAME], 0),
        nested => (nested, 1),
    };
    if layers.is_null() {
        return Ok(None);
    }
    config.layers(NAME, layers, further).map(Some)
}
