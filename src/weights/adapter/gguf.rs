//! Adapters in GGUF files, as llama.cpp's `convert_lora_to_gguf.py` writes them.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Adapter, Change, How, Product, is_adapter};
use crate::error::{Error, Result};
use crate::weights::gguf::GgufFile;

const ALPHA: &str = "adapter.lora.alpha";
/// The embedding, whose matrices are laid out in another way.
const EMBEDDING: &str = "token_embd.weight";

/// Opens the adapter in a file.
pub(super) fn open(path: &Path) -> Result<Adapter> {
    let file = GgufFile::open(path)?;
    let unsupported = |reason: String| Err(Error::unsupported(path.display().to_string(), reason));
    let text = |key| file.metadata().string(key);
    if !is_adapter(&file) {
        return unsupported("it is a model, and no adapter: name it with --target".into());
    }
    if text("adapter.type") != Some("lora") {
        let kind = text("adapter.type").unwrap_or("of no kind");
        return unsupported(format!("adapter.type {kind} is not supported, only lora"));
    }
    let invocation = "adapter.alora.invocation_tokens";
    if file.metadata().get(invocation).is_some() {
        return unsupported(format!(
            "{invocation}: an adapter for a part of a text can't be merged"
        ));
    }
    let alpha = file.metadata().float(ALPHA);
    let alpha = alpha.filter(|alpha| alpha.is_finite());
    let alpha = alpha.ok_or_else(|| {
        Error::corrupt(path, format!("metadata {ALPHA} is missing, or no number"))
    })?;
    let mut adapter = Adapter {
        path: path.to_owned(),
        architecture: text("general.architecture").map(ToOwned::to_owned),
        checkpoint: Box::new(file),
        config: None,
        changes: Vec::new(),
        keeps_tied: false,
    };
    adapter.changes = changes(&adapter, alpha)?;
    Ok(adapter)
}

fn changes(adapter: &Adapter, alpha: f64) -> Result<Vec<Change>> {
    let mut products = BTreeMap::<&str, [Option<&str>; 2]>::new();
    let mut changes = Vec::new();
    for name in adapter.checkpoint.names() {
        if let Some(tensor) = name.strip_suffix(".lora_a") {
            products.entry(tensor).or_default()[0] = Some(name);
        } else if let Some(tensor) = name.strip_suffix(".lora_b") {
            products.entry(tensor).or_default()[1] = Some(name);
        } else {
            // The converter copies what modules_to_save names.
            changes.push(Change {
                tensor: name.to_owned(),
                how: How::Replaced(name.to_owned()),
            });
        }
    }
    for (tensor, parts) in products {
        let [Some(a), Some(b)] = parts else {
            let found = parts.into_iter().flatten().next().unwrap_or(tensor);
            let reason = "expected lora_a and lora_b of a tensor, found one of them";
            return Err(adapter.corrupt(found, reason));
        };
        if tensor == EMBEDDING {
            let reason = "an adapter of the embedding is supported in PEFT's layout alone";
            return Err(adapter.unsupported(format!("tensor `{a}`: {reason}")));
        }
        let rank = adapter.tensor(b)?.shape.last().copied().unwrap_or(0);
        changes.push(Change {
            tensor: tensor.to_owned(),
            how: How::Added(Product {
                a: a.to_owned(),
                b: b.to_owned(),
                // None is llama.cpp's own.
                scale: match alpha {
                    0.0 => 1.0,
                    alpha => alpha / rank as f64,
                },
                magnitude: None,
                is_of_embedding: false,
            }),
        });
    }
    match changes.is_empty() {
        false => Ok(changes),
        true => Err(Error::corrupt(&adapter.path, "it has no tensors")),
    }
}
