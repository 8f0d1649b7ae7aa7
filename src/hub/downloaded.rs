//! The models that were downloaded: repositories in Hugging Face's cache, and what lies in our own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::alias::ALIASES;
use super::environment::Settings;
use crate::error::{Error, Result};

/// How the name of a repository's folder starts; its slash is written like its end.
const REPOSITORY: &str = "models--";
const SLASH: &str = "--";

/// A model on this machine.
#[derive(Debug, Serialize)]
pub(crate) struct Downloaded {
    /// What it is named by, as a target.
    pub(crate) model: String,
    pub(crate) folder: PathBuf,
    pub(crate) bytes: u64,
    /// When a file of it was last written.
    #[serde(skip)]
    pub(crate) written: SystemTime,
}

/// All of them, by their names.
pub(crate) fn list() -> Vec<Downloaded> {
    let settings = Settings::from_env();
    let repositories = folders(&settings.hub_cache).filter_map(|folder| {
        let name = name_of(&folder)?;
        let model = name.strip_prefix(REPOSITORY)?.replacen(SLASH, "/", 1);
        Some((model, folder))
    });
    let aliases = ALIASES.iter().map(|alias| {
        let folder = settings.own_cache.join(alias.name);
        (alias.name.to_owned(), folder)
    });
    let packages = folders(&settings.own_cache.join("pypi"));
    let packages =
        packages.filter_map(|folder| Some((format!("pypi:{}", name_of(&folder)?), folder)));
    let all = repositories.chain(aliases).chain(packages);
    let mut all: Vec<Downloaded> = all
        .filter_map(|(model, folder)| {
            let (bytes, written) = contents(&folder);
            Some(Downloaded {
                model,
                folder,
                bytes,
                written: written?,
            })
        })
        .filter(|downloaded| downloaded.bytes > 0)
        .collect();
    all.sort_by(|a, b| a.model.cmp(&b.model));
    all
}

/// Removes one.
pub(crate) fn remove(downloaded: &Downloaded) -> Result<()> {
    let folder = &downloaded.folder;
    fs::remove_dir_all(folder).map_err(|error| Error::io(folder, error))
}

fn folders(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_folder).map(|entry| entry.path())
}

fn name_of(folder: &Path) -> Option<String> {
    Some(folder.file_name()?.to_str()?.to_owned())
}

/// The bytes of the files in a folder, links left out, and when the last one was written.
fn contents(folder: &Path) -> (u64, Option<SystemTime>) {
    let (mut bytes, mut written) = (0, None);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Of the entry itself: a snapshot's links lead to files that are counted where they lie.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let (inner, last) = match metadata.is_dir() {
            true => contents(&entry.path()),
            false if metadata.is_symlink() => continue,
            false => (metadata.len(), metadata.modified().ok()),
        };
        bytes += inner;
        written = written.max(last);
    }
    (bytes, written)
}
