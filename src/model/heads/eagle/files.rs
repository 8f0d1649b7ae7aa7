//! A published head's files.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::architecture::{ModelSpec, config_json};
use crate::error::{Error, Result};
use crate::files::{self, Small};
use crate::weights::Checkpoint;
use crate::weights::safetensors::SafetensorsCheckpoint;

/// The tensor that tells a head from a model.
const FUSION: &str = "fc.weight";

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
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| Error::corrupt(&config, error.to_string()))?;
        if !value["speculators_model_type"].is_null() {
            let reason =
                "its config.json is in the layout of speculators: use a head in EAGLE's own";
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
    let number = |layer: &Value| Some(usize::try_from(layer.as_u64()?).ok()? + further);
    let numbers = layers
        .as_array()
        .and_then(|layers| layers.iter().map(number).collect());
    let expected = || format!("{NAME}: expected numbers of layers, found {layers}");
    numbers.map(Some).ok_or_else(expected)
}
