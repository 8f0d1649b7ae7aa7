//! What transformers takes for keys that a config.json leaves out, by family: files of multimodal models above all state of
//! their decoders only what is unusual. (`tests/data/make_config_defaults.py` makes the table.)

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::architecture::preset::Preset;

type Fields = Map<String, Value>;

/// A family's defaults.
pub(super) fn of(preset: &Preset) -> &'static Fields {
    static ALL: LazyLock<HashMap<String, Fields>> =
        LazyLock::new(|| serde_json::from_str(include_str!("defaults.json")).unwrap_or_default());
    static NONE: LazyLock<Fields> = LazyLock::new(Fields::new);
    ALL.get(preset.name()).unwrap_or(&NONE)
}
