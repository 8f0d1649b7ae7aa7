//! The folders of the cache of packed weights: each with a description, beside a lock that its writer holds.
//!
//! A folder is renamed before it is removed, so that what an interrupted removal leaves is no folder of the cache; the next removal
//! takes it away. Those that were not used for the longest make room for others.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::KEY_DIGITS;
use crate::backend::WeightPrecision;
use crate::backend::cpu::WritableFolder;
use crate::error::{Error, Result};
use crate::files::{self, Access, Small};

/// What a folder's description is called.
const ABOUT: &str = "about.json";
/// How the names of folders end that are being removed.
const REMOVED: &str = ".removed";

/// What a folder is of. Its date is that of the last use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// The model's file or folder.
    source: PathBuf,
    /// How its weights are held.
    precision: String,
    /// Bytes of the checkpoint's files.
    file_bytes: u64,
    /// Bytes of all matrices, once they are packed.
    packed_bytes: u64,
}

impl About {
    pub(super) fn new(
        source: &Path,
        precision: WeightPrecision,
        file_bytes: u64,
        packed_bytes: u64,
    ) -> Self {
        Self {
            source: std::path::absolute(source).unwrap_or_else(|_| source.to_owned()),
            precision: match precision {
                WeightPrecision::Stored => "stored".into(),
                WeightPrecision::F32 => "f32".into(),
                WeightPrecision::Quantized(storage) => storage.name().to_ascii_lowercase(),
            },
            file_bytes,
            packed_bytes,
        }
    }
}

/// A folder of the cache.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PackedWeights {
    /// Its name.
    pub id: String,
    /// The model's file or folder when it was written; empty if the description is lost.
    pub model: PathBuf,
    /// How the weights are held: as stored, or converted.
    pub precision: String,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When a process last opened it.
    #[serde(skip)]
    pub last_used: SystemTime,
    #[serde(skip)]
    file_bytes: u64,
    #[serde(skip)]
    packed_bytes: u64,
}

/// All folders of the cache.
pub(super) struct Folders {
    pub(super) path: PathBuf,
}

impl Folders {
    /// Those that were used last come first.
    pub(super) fn list(&self) -> Vec<PackedWeights> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries
            .filter_map(|entry| describe(&entry.path()))
            .collect();
        all.sort_by_key(|weights| std::cmp::Reverse(weights.last_used));
        all
    }

    /// Whether there is one of files that have so many bytes.
    pub(super) fn have_files_of(&self, bytes: u64) -> bool {
        self.list()
            .iter()
            .any(|weights| weights.file_bytes == bytes)
    }

    /// The folder of that key, which counts as used now; `None` if there is none.
    pub(super) fn used(&self, key: &str) -> Option<PathBuf> {
        let folder = self.path.join(key);
        // (Where the date can't be set, the folder counts as older than it is.)
        if let Ok(about) = fs::File::options().append(true).open(folder.join(ABOUT)) {
            let _ = about.set_modified(SystemTime::now());
        }
        folder.is_dir().then_some(folder)
    }

    /// Makes the folder of that key, for this process alone; `None`: another process has it.
    pub(super) fn lock(&self, key: &str, about: &About) -> Result<Option<WritableFolder>> {
        let Some(lock) = files::try_lock(&self.lock_of(key))? else {
            return Ok(None);
        };
        let path = self.path.join(key);
        files::create_folder(&path)?;
        let about = serde_json::to_vec(about).map_err(|error| Error::io(&path, error.into()))?;
        files::write(&path.join(ABOUT), about, Access::Shared)?;
        let lock = Box::new(lock);
        Ok(Some(WritableFolder { path, lock }))
    }

    /// Beside the folder, so that it stays where the folder is removed.
    fn lock_of(&self, key: &str) -> PathBuf {
        self.path.join(format!("{key}.lock"))
    }

    /// Removes what was not used for the longest until `bytes` fit beside the others than `key`; returns whether the disk has room
    /// for them, and removes nothing if it has not.
    pub(super) fn make_room(&self, key: &str, bytes: u64, limit: u64) -> Result<bool> {
        files::create_folder(&self.path)?;
        let (mut taken, mut held, mut removed) = (bytes, 0, Vec::new());
        for weights in self.list() {
            if weights.id == key {
                held = weights.bytes;
                continue;
            }
            let with_it = taken.saturating_add(weights.bytes.max(weights.packed_bytes));
            match with_it > limit {
                true => removed.push(weights),
                false => taken = with_it,
            }
        }
        let freed: u64 = removed.iter().map(|weights| weights.bytes).sum();
        let missing = bytes.saturating_sub(held);
        // Other programs need the disk, too.
        if free_bytes(&self.path).is_some_and(|free| missing > free.saturating_add(freed) / 2) {
            return Ok(false);
        }
        for weights in removed {
            self.remove(&weights.id)?;
        }
        Ok(true)
    }

    /// Removes a folder; false if a process is writing to it.
    pub(super) fn remove(&self, id: &str) -> Result<bool> {
        let Some(_lock) = files::try_lock(&self.lock_of(id))? else {
            return Ok(false);
        };
        let removed = self.path.join(format!("{id}{REMOVED}"));
        // What an interrupted removal left would be in the way.
        remove_all(&removed)?;
        match fs::rename(self.path.join(id), &removed) {
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed.map_err(|error| files::write_error(&removed, error))?,
        }
        remove_all(&removed)?;
        self.sweep();
        Ok(true)
    }

    /// Removes what interrupted removals left.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default();
            if name.as_encoded_bytes().ends_with(REMOVED.as_bytes()) {
                // (If it fails, the next removal tries again.)
                let _ = remove_all(&path);
            }
        }
    }
}

/// Removes a folder, if it is there.
fn remove_all(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(files::write_error(folder, error)),
        _ => Ok(()),
    }
}

/// Free bytes of the disk with this folder, if the system tells.
fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(folder).ok()?;
        disk.f_bavail.checked_mul(disk.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// What a folder is of; `None` if it is none of the cache's.
fn describe(folder: &Path) -> Option<PackedWeights> {
    let id = folder.file_name()?.to_str()?;
    let is_key = id.len() == KEY_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let metadata = fs::symlink_metadata(folder).ok()?;
    if !is_key || !metadata.is_dir() {
        return None;
    }
    let path = folder.join(ABOUT);
    let about: Option<About> = files::read(&path, Small::Settings)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let about = about.unwrap_or(About {
        source: PathBuf::new(),
        precision: "unknown".into(),
        file_bytes: 0,
        packed_bytes: 0,
    });
    let last_used = fs::metadata(&path).unwrap_or(metadata);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let lengths = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    Some(PackedWeights {
        id: id.to_owned(),
        model: about.source,
        precision: about.precision,
        bytes: lengths.sum(),
        last_used: last_used.modified().ok()?,
        file_bytes: about.file_bytes,
        packed_bytes: about.packed_bytes,
    })
}

#[cfg(test)]
mod tests;
