//! A published head's files.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::architecture::{ModelSpec, config_json};
use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::json;
use crate::weights::Checkpoint;
use crate::weights::safetensors::SafetensorsCheckpoint;

/// The tensor that tells a head from a model.
const FUSION: &str = "fc.weight";

/// Heads that have a tensor of that name, too, by what the name of their architecture holds.
const OTHER_KINDS: [&str; 2] = ["DFlash", "DSpark"];

const SUPPORTED: &str =
    "only those of EAGLE and EAGLE-3 are supported: use one of them, or another draft";

/// The parts of a head's one layer.
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
    pub(super) folder: PathBuf,
    pub(super) spec: ModelSpec,
    /// Of config.json.
    pub(super) captured: Option<Vec<usize>>,
    pub(super) checkpoint: SafetensorsCheckpoint,
}

impl EagleFiles {
    /// Opens a folder; `None` if a model lies there, not a head.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let checkpoint = SafetensorsCheckpoint::open(folder)?;
        if checkpoint.tensor(FUSION).is_none() {
            return Ok(None);
        }
        let config = folder.join("config.json");
        let text = files::read_text(&config, Small::Settings)?;
        let value: Value = json::parse(&config, text.as_bytes())?;
        if let Some(reason) = other_kind(&value, &checkpoint.names()) {
            return Err(Error::unsupported(folder.display().to_string(), reason));
        }
        Ok(Some(Self {
            folder: folder.to_owned(),
            spec: config_json::parse(&text, &config)?,
            captured: captured(&value).map_err(|reason| Error::corrupt(&config, reason))?,
            checkpoint,
        }))
    }

    pub(super) fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::unsupported(self.folder.display().to_string(), reason)
    }

    /// Whether it is one of EAGLE-3's.
    pub(super) fn is_third(&self) -> bool {
        let names = self.checkpoint.names();
        names.iter().any(|name| name.starts_with("midlayer."))
    }
}

/// Why a head is not one of EAGLE's or EAGLE-3's; `None`: it is.
fn other_kind(config: &Value, names: &[&str]) -> Option<String> {
    if !config["speculators_model_type"].is_null() {
        let reason = "its config.json is in the layout of speculators: use a head in EAGLE's own";
        return Some(reason.into());
    }
    let architecture = config["architectures"][0].as_str().unwrap_or_default();
    let named = architecture.to_ascii_lowercase();
    if let Some(kind) = OTHER_KINDS
        .iter()
        .find(|kind| named.contains(&kind.to_ascii_lowercase()))
    {
        return Some(format!(
            "it is a head of {kind} ({architecture}), and {SUPPORTED}"
        ));
    }
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
    if ["d2t", "t2d"].contains(&name) {
        return true;
    }
    let Some((name, "weight" | "bias" | "inv_freq")) = name.rsplit_once('.') else {
        return false;
    };
    let layers = ["layers.0.", "midlayer."];
    match layers.iter().find_map(|layer| name.strip_prefix(layer)) {
        Some(part) => LAYER_PARTS.contains(&part),
        None => ["fc", "embed_tokens", "norm", "lm_head"].contains(&name),
    }
}

/// The layers of the target before which config.json has its hidden states captured.
fn captured(config: &Value) -> Result<Option<Vec<usize>>, String> {
    const NAME: &str = "eagle_aux_hidden_state_layer_ids";
    // Under `eagle_config` a layer's number stands for what comes out of it.
    let nested = &config["eagle_config"][NAME];
    let (layers, further) = match nested {
        Value::Null => (&config[NAME], 0),
        nested => (nested, 1),
    };
    if layers.is_null() {
        return Ok(None);
    }
    let number = |layer: &Value| {
        let layer = usize::try_from(layer.as_u64()?).ok()?;
        layer.checked_add(further)
    };
    let numbers = layers
        .as_array()
        .and_then(|layers| layers.iter().map(number).collect());
    let expected = || format!("{NAME}: expected numbers of layers, found {layers}");
    numbers.map(Some).ok_or_else(expected)
}
