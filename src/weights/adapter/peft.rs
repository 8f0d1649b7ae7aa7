//! Adapters in PEFT's layout: a folder with `adapter_config.json` and the tensors.

use std::collections::BTreeMap;
use std::path::Path;

use super::settings::Settings;
use super::{Adapter, CONFIG, Change, How, Product, WEIGHTS};
use crate::error::{Error, Result};
use crate::weights::safetensors::SafetensorsCheckpoint;

/// What PEFT puts before the names of a model's modules.
const PREFIX: &str = "base_model.model.";
/// What it calls a module within the one that adapts it.
const BASE_LAYER: &str = ".base_layer";

/// The parts of a module's product, as far as they were found.
#[derive(Default)]
struct Parts {
    a: Option<String>,
    b: Option<String>,
    magnitude: Option<String>,
    is_of_embedding: bool,
}

/// What a tensor is in a module's product.
enum Part {
    A,
    B,
    EmbeddingA,
    EmbeddingB,
    Magnitude,
}

/// How the names of such tensors end.
const PARTS: [(&str, Part); 6] = [
    (".lora_A.weight", Part::A),
    (".lora_B.weight", Part::B),
    (".lora_embedding_A", Part::EmbeddingA),
    (".lora_embedding_B", Part::EmbeddingB),
    (".lora_magnitude_vector", Part::Magnitude),
    (".lora_magnitude_vector.weight", Part::Magnitude),
];

/// The module of whose product a tensor is a part, and which.
fn part_of_product(tensor: &str) -> Option<(&str, &'static Part)> {
    let mut parts = PARTS.iter();
    parts.find_map(|(end, part)| Some((tensor.strip_suffix(end)?, part)))
}

/// Opens the adapter in a folder.
pub(super) fn open(folder: &Path) -> Result<Adapter> {
    let config = folder.join(CONFIG);
    let metadata = config.metadata();
    let metadata = metadata.map_err(|error| Error::io(&config, error))?;
    let settings = Settings::read(&config)?;
    let mut files = WEIGHTS.iter().map(|name| folder.join(name));
    let file = files.find(|file| file.is_file()).ok_or_else(|| {
        let reason = format!(
            "the folder has {CONFIG}, but none of {}",
            WEIGHTS.join(", ")
        );
        Error::not_found(folder.display().to_string(), reason)
    })?;
    let checkpoint = SafetensorsCheckpoint::open(&file)?;
    if let Some(name) = checkpoint.others().next() {
        let reason = format!("tensor `{name}`: expected numbers in F32, F16 or BF16");
        return Err(Error::corrupt(file, reason));
    }
    let mut adapter = Adapter {
        path: folder.to_owned(),
        checkpoint: Box::new(checkpoint),
        config: Some((config, metadata)),
        changes: Vec::new(),
        architecture: None,
        keeps_tied: settings.keeps_tied,
    };
    adapter.changes = changes(&adapter, &settings)?;
    Ok(adapter)
}

/// What an adapter's tensors are for, by their names.
fn changes(adapter: &Adapter, settings: &Settings) -> Result<Vec<Change>> {
    let mut products = BTreeMap::<&str, Parts>::new();
    let mut changes = Vec::new();
    for name in adapter.checkpoint.names() {
        let tensor = name.strip_prefix(PREFIX).unwrap_or(name);
        if let Some((module, part)) = part_of_product(tensor) {
            let parts = products.entry(module).or_default();
            parts.is_of_embedding |= matches!(part, Part::EmbeddingA | Part::EmbeddingB);
            let part = match part {
                Part::A | Part::EmbeddingA => &mut parts.a,
                Part::B | Part::EmbeddingB => &mut parts.b,
                Part::Magnitude => &mut parts.magnitude,
            };
            if let Some(other) = part.replace(name.to_owned()) {
                let reason =
                    format!("expected one such tensor of its module, found `{other}`, too");
                return Err(adapter.corrupt(name, reason));
            }
        } else if tensor.contains("lora_") || tensor.contains(".trainable_tokens_") {
            let reason = "it is of a kind that is not supported: merge the adapter with PEFT's merge_and_unload, \
                          and load the merged model";
            return Err(adapter.corrupt(name, reason));
        } else {
            changes.push(Change {
                tensor: tensor.replace(BASE_LAYER, ""),
                how: How::Replaced(name.to_owned()),
            });
        }
    }
    for (module, parts) in products {
        changes.push(product(adapter, settings, module, parts)?);
    }
    match changes.is_empty() {
        false => Ok(changes),
        true => {
            let file = adapter.checkpoint.file_of("");
            Err(Error::corrupt(
                file,
                "it has no tensors that change a model",
            ))
        }
    }
}

/// The product that is added to a module's weight.
fn product(adapter: &Adapter, settings: &Settings, module: &str, parts: Parts) -> Result<Change> {
    let (a, b) = match (parts.a, parts.b) {
        (Some(a), Some(b)) => (a, b),
        (a, b) => {
            let found = a.or(b).or(parts.magnitude).unwrap_or_default();
            let reason = "expected lora_A and lora_B of its module, found one of them, or none";
            return Err(adapter.corrupt(&found, reason));
        }
    };
    if parts.magnitude.is_some() != settings.is_dora {
        let named = parts.magnitude.as_deref().unwrap_or(&a);
        let reason = match settings.is_dora {
            true => format!("{CONFIG} sets use_dora, but its module has no lora_magnitude_vector"),
            false => format!("{CONFIG} does not set use_dora, which such a tensor is of"),
        };
        return Err(adapter.corrupt(named, reason));
    }
    let shape = adapter.tensor(&a)?.shape;
    let expected = settings.rank(module);
    if shape.first() != Some(&expected) {
        let reason = format!(
            "its shape is {shape:?}, but {CONFIG} gives it rank {expected} (r or rank_pattern)"
        );
        return Err(adapter.corrupt(&a, reason));
    }
    Ok(Change {
        tensor: format!("{module}.weight"),
        how: How::Added(Product {
            a,
            b,
            scale: settings.scale(module),
            magnitude: parts.magnitude,
            is_of_embedding: parts.is_of_embedding,
        }),
    })
}
