//! The cache that Hugging Face's libraries share: `models--OWNER--NAME/{blobs,refs,snapshots}`.
//!
//! A snapshot (a commit's folder) links to blobs, which are named by their content; a ref is a file that names the
//! commit of a branch or tag. Layout as in the guide "Understand caching" of `huggingface_hub`.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::disk;
use crate::error::{Error, Result};

/// One repository's part of the cache.
pub(super) struct RepositoryCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepositoryCache {
    pub fn new(hub_cache: &Path, repository: &str) -> Self {
        let name = format!("models--{}", repository.replace('/', "--"));
        Self {
            folder: hub_cache.join(&name),
            locks: hub_cache.join(".locks").join(name),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The commit that a branch or tag meant when it was last asked for, or the commit itself if it is here.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if self.snapshot(revision).is_dir() {
            return Some(revision.to_owned());
        }
        let commit = std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        let commit = commit.trim();
        disk::stays_inside(commit).then(|| commit.to_owned())
    }

    /// Remembers which commit a branch or tag means.
    pub fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        // A cache that cannot be written to is good enough as long as there is nothing new to write.
        if self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        disk::write(&self.folder.join("refs").join(revision), commit)
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The file whose content has that name.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where a download of that content gathers; every Hugging Face library takes it up again there.
    pub fn partial(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Held while the content of that name is downloaded, by whichever library.
    pub fn lock(&self, etag: &str) -> Result<File> {
        disk::lock(&self.locks.join(format!("{etag}.lock")))
    }

    /// Shows a blob as a file of a snapshot.
    pub fn link(&self, etag: &str, commit: &str, name: &str) -> Result<()> {
        let pointer = self.snapshot(commit).join(name);
        if let Some(folder) = pointer.parent() {
            disk::create_folder(folder)?;
        }
        // From a snapshot's folder up to the repository's, past the folders in the name.
        let up = "../".repeat(2 + name.matches('/').count());
        // Renamed into place, so that whoever reads the snapshot meanwhile finds the old link or the new one.
        let fresh = self
            .snapshot(commit)
            .join(format!(".{}.{etag}", disk::unique()));
        link(&format!("{up}blobs/{etag}"), &self.blob(etag), &fresh)
            .map_err(|error| disk::write_error(&fresh, error))?;
        disk::rename(&fresh, &pointer)
    }

    /// The names of a commit's files that are here, as the repository names them.
    pub fn files(&self, commit: &str) -> Result<Vec<String>> {
        let root = self.snapshot(commit);
        let mut folders = vec![String::new()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            let path = root.join(&folder);
            let entries = std::fs::read_dir(&path).map_err(|error| Error::io(&path, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| Error::io(&path, error))?;
                // The hub's names are Unicode: others are not from there.
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let name = format!("{folder}{name}");
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(format!("{name}/"));
                } else if root.join(&name).is_file() {
                    files.push(name);
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

#[cfg(unix)]
fn link(relative: &str, _: &Path, pointer: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(relative, pointer)
}

/// Symbolic links need a privilege on Windows; hard links do not.
#[cfg(not(unix))]
fn link(_: &str, blob: &Path, pointer: &Path) -> std::io::Result<()> {
    std::fs::hard_link(blob, pointer)
}
