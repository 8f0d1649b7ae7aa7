//! LoRA adapters: which base model an adapter is of.

use std::path::{Path, PathBuf};

use super::choice::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use super::{LocateOptions, ModelFiles};
use crate::error::{Error, Result};
use crate::files::{self, Small};

/// A base model's files, and the adapters that are merged into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptedFiles {
    /// The base model's.
    pub base: Box<ModelFiles>,
    /// Each adapter's folder, or GGUF file, in the order in which they are merged.
    pub adapters: Vec<PathBuf>,
    /// The adapter's folder that has a tokenizer of its own, if the model was named by it.
    pub tokenizer: Option<PathBuf>,
}

impl ModelFiles {
    /// The same model with further adapters.
    pub fn with_adapters(self, further: Vec<PathBuf>) -> Result<Self> {
        if further.is_empty() {
            return Ok(self);
        }
        let mut files = match self {
            Self::Adapted(files) => files,
            base => AdaptedFiles {
                base: Box::new(base),
                adapters: Vec::new(),
                tokenizer: None,
            },
        };
        for adapter in further {
            let mut others = files.adapters.iter();
            if others.any(|other| other.canonicalize().ok() == adapter.canonicalize().ok()) {
                let expected = "each adapter once: it would be merged twice";
                return Err(Error::invalid("lora", adapter.display(), expected));
            }
            files.adapters.push(adapter);
        }
        Ok(Self::Adapted(files))
    }
}

/// Whether a folder holds an adapter.
pub(super) fn is_one(folder: &Path) -> bool {
    let has = |name: &&str| folder.join(name).is_file();
    has(&ADAPTER_CONFIG) && ADAPTER_WEIGHTS.iter().any(has)
}

/// Finds the base model of an adapter that a user named as a model.
pub(super) fn with_base(
    model: &str,
    folder: PathBuf,
    options: &LocateOptions<'_>,
) -> Result<ModelFiles> {
    let config = folder.join(ADAPTER_CONFIG);
    let fields = files::read_json(&config, Small::Settings)?;
    let text = |name: &str| fields[name].as_str().filter(|text| !text.is_empty());
    let advice = "name the base model as the target, and the adapter with `lora`";
    let Some(base) = text("base_model_name_or_path") else {
        let reason = format!("{ADAPTER_CONFIG} has no base_model_name_or_path: {advice}");
        return Err(Error::unsupported(model, reason));
    };
    let options = LocateOptions {
        revision: text("revision"),
        with_head: options.with_head,
        progress: options.progress,
    };
    let found = super::find(base, &options);
    let found = found.map_err(|error| {
        let reason = format!(
            "its base model, which {ADAPTER_CONFIG} names, is not there ({error}): {advice}"
        );
        Error::not_found(model, reason)
    })?;
    if let ModelFiles::Folder(folder) = &found
        && is_one(folder)
    {
        let reason =
            format!("its base model, {base}, is an adapter: merge that with PEFT, and {advice}");
        return Err(Error::unsupported(model, reason));
    }
    let has_tokenizer = ["tokenizer.json", "vocab.json"]
        .iter()
        .any(|name| folder.join(name).is_file());
    Ok(ModelFiles::Adapted(AdaptedFiles {
        base: Box::new(found),
        tokenizer: has_tokenizer.then(|| folder.clone()),
        adapters: vec![folder],
    }))
}

/// Finds an adapter: a folder, a GGUF file, or a repository of the hub with one of them.
pub fn locate_adapter(name: &str, options: &LocateOptions<'_>) -> Result<PathBuf> {
    let found = super::find(name, options)?;
    Ok(match found {
        ModelFiles::Folder(folder) if !is_one(&folder) => {
            let reason = format!(
                "it has no {ADAPTER_CONFIG} with {}: it is no adapter",
                ADAPTER_WEIGHTS.join(" or ")
            );
            return Err(Error::unsupported(name, reason));
        }
        ModelFiles::Folder(path) | ModelFiles::Gguf(path) => path,
        // (It finds none of these.)
        ModelFiles::Adapted(files) => files.adapters.into_iter().next().unwrap_or_default(),
    })
}
