//! The cache that Hugging Face's libraries share: `models--OWNER--NAME/{blobs,refs,snapshots}`.
//!
//! A snapshot (a commit's folder) links to blobs, which are named by their content; a ref is a file that names the
//! commit of a branch or tag. Layout as in the guide "Understand caching" of `huggingface_hub`.

use std::path::{Path, PathBuf};

use super::name::stays_inside;
use crate::error::{Error, Result};
use crate::files::{self, Access, Lock, Small};

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

    /// The commit that a branch or tag named at the last request, or the commit itself if it is in the cache.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if self.snapshot(revision).is_dir() {
            return Some(revision.to_owned());
        }
        let commit =
            files::read_text(&self.folder.join("refs").join(revision), Small::Settings).ok()?;
        let commit = commit.trim();
        stays_inside(commit).then(|| commit.to_owned())
    }

    /// Records which commit a branch or tag names.
    pub fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        // A read-only cache works as long as nothing has changed.
        if self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let file = self.folder.join("refs").join(revision);
        if let Some(folder) = file.parent() {
            files::create_folder(folder)?;
        }
        files::write(&file, commit, Access::Shared)
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The file with the content of that `ETag`.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// The unfinished download of that content; every Hugging Face library resumes it there.
    pub fn partial(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Held during the download of that content, by any Hugging Face library.
    pub fn lock(&self, etag: &str) -> Result<Lock> {
        files::lock(&self.locks.join(format!("{etag}.lock")))
    }

    /// Links a blob into a snapshot under the file's name.
    pub fn link(&self, etag: &str, commit: &str, name: &str) -> Result<()> {
        let pointer = self.snapshot(commit).join(name);
        if let Some(folder) = pointer.parent() {
            files::create_folder(folder)?;
        }
        // From a snapshot's folder up to the repository's, past the folders in the name.
        let up = "../".repeat(2 + name.matches('/').count());
        let (relative, blob) = (format!("{up}blobs/{etag}"), self.blob(etag));
        // Renamed into place: a reader of the snapshot finds the old link or the new one.
        let new = tempfile::Builder::new()
            .make_in(self.snapshot(commit), |path| link(&relative, &blob, path))
            .map_err(|error| files::write_error(&pointer, error))?;
        new.persist(&pointer)
            .map_err(|error| files::write_error(&pointer, error.error))?;
        Ok(())
    }

    /// The names of a commit's files in the cache, as the repository names them.
    pub fn files(&self, commit: &str) -> Result<Vec<String>> {
        let root = self.snapshot(commit);
        let mut folders = vec![String::new()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            let path = root.join(&folder);
            let entries = std::fs::read_dir(&path).map_err(|error| Error::io(&path, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| Error::io(&path, error))?;
                // Names on the hub are valid Unicode: other files are not from the hub.
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
