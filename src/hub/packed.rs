//! The cache of packed weights: where the CPU kernels keep matrices in their layout, so that later starts map them.
//!
//! A folder for each checkpoint and precision lies in `packed`, in our own cache. Its name is its [key](of_contents): what
//! the checkpoint's files contain, how weights are held in memory, and the version of all that turns the one into the other.
//! `about.json` says what it is of; its date is that of the last use. The matrices are the kernels' own affair
//! ([`MatrixCache`]). All folders together take at most [`Limit`]; those that were not used for the longest go first.
//!
//! To open a checkpoint again takes its contents' digest, and to read 17 GB takes seconds: `digest` keeps those of files
//! that did not change.

mod digest;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::environment::Settings;
use crate::backend::WeightPrecision;
use crate::backend::cpu::{LAYOUT_VERSION, MatrixCache, WritableFolder};
use crate::error::{Error, Result};
use crate::files::{self, Access, Small};
use crate::threads;
use digest::Digests;

/// The variable with the limit.
const VARIABLE: &str = "SPECDEC_PACKED_WEIGHTS_GIB";
const DEFAULT_GIB: u64 = 64;
/// Below this, packing takes less time than a person notices.
const MIN_BYTES: u64 = 64 << 20;
/// What a folder's description is called.
const ABOUT: &str = "about.json";
/// What a folder's writer locks.
const LOCK: &str = "lock";
/// Hexadecimal digits of a folder's name: half of those of a hash.
const KEY_DIGITS: usize = 32;

/// How many bytes all folders may take; 0: nothing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(u64);

impl Limit {
    fn from_environment() -> Result<Self> {
        let value = std::env::var(VARIABLE).unwrap_or_default();
        if value.is_empty() {
            return Ok(Self(DEFAULT_GIB << 30));
        }
        let gibibytes: Option<u64> = value.trim().parse().ok();
        let bytes = gibibytes.and_then(|number| number.checked_mul(1 << 30));
        bytes.map(Self).ok_or_else(|| {
            let expected = "a whole number of gibibytes, or 0 to keep no packed weights";
            Error::invalid(VARIABLE, value, expected)
        })
    }
}

/// A checkpoint whose weights are to be packed.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    /// What it was loaded from.
    pub source: PathBuf,
    /// All files that its weights follow from.
    pub files: Vec<PathBuf>,
    pub precision: WeightPrecision,
    /// Bytes of the packed weights.
    pub bytes: u64,
}

/// What a folder is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    /// The model's file or folder.
    source: PathBuf,
    /// How its weights are held.
    precision: String,
    /// Bytes of the checkpoint's files.
    file_bytes: u64,
}

/// A folder of the cache.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PackedWeights {
    /// Its name.
    pub id: String,
    /// The model's file or folder when it was written.
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
}

/// The matrices of a checkpoint that are packed already, and the place for the others; `None`: none are kept.
pub(crate) fn open(checkpoint: Checkpoint) -> Result<Option<MatrixCache>> {
    let Limit(limit) = Limit::from_environment()?;
    let is_worth_it = (MIN_BYTES..=limit).contains(&checkpoint.bytes);
    if !is_worth_it || checkpoint.files.is_empty() {
        return Ok(None);
    }
    let cache = Cache::new(&Settings::from_env());
    let key = match cache.digests.known(&checkpoint.files) {
        Some(contents) => Some(key(&contents, checkpoint.precision)),
        // A copy of a file that is known, or its new date: reading it takes less time than packing it.
        None if cache.has_folder_like(&checkpoint) => {
            let is_stopped = AtomicBool::new(false);
            let threads = thread::available_parallelism().map_or(1, usize::from);
            let digests = &cache.digests;
            let contents = digests.of_files(&checkpoint.files, threads, &is_stopped);
            // (A file that can't be read, or a record that can't be written: the weights are packed without.)
            let contents = contents.ok().flatten();
            contents.map(|contents| key(&contents, checkpoint.precision))
        }
        None => None,
    };
    let folder = key.map(|key| cache.folder.join(key));
    let folder = folder.filter(|folder| folder.is_dir());
    if let Some(folder) = &folder {
        mark_as_used(folder);
    }
    let find_folder = move |is_stopped: &AtomicBool| {
        let found = cache.folder_to_write(&checkpoint, limit, is_stopped);
        found.unwrap_or_else(|error| {
            tracing::info!("packed weights are not kept: {error}");
            None
        })
    };
    let cache = MatrixCache::new(folder.as_deref(), Box::new(find_folder));
    Ok(Some(cache))
}

/// Where packed weights are kept.
pub(crate) fn folder() -> PathBuf {
    Cache::new(&Settings::from_env()).folder
}

/// How many bytes may be kept.
pub(crate) fn limit() -> Result<u64> {
    Limit::from_environment().map(|Limit(bytes)| bytes)
}

/// All packed weights that are kept, those that were used last first.
pub(crate) fn list() -> Vec<PackedWeights> {
    Cache::new(&Settings::from_env()).list()
}

/// Removes packed weights. Processes that use them go on.
pub(crate) fn remove(weights: &PackedWeights) -> Result<()> {
    Cache::new(&Settings::from_env()).remove(&weights.id)
}

/// The name of the folder for files of these contents: everything that the packed bytes follow from.
fn key(contents: &[String], precision: WeightPrecision) -> String {
    let endian = if cfg!(target_endian = "little") {
        "little"
    } else {
        "big"
    };
    let version = env!("CARGO_PKG_VERSION");
    let mut all = format!("{version} {LAYOUT_VERSION} {endian} {precision:?}");
    for content in contents {
        all.push('\n');
        all.push_str(content);
    }
    let mut key = blake3::hash(all.as_bytes()).to_string();
    key.truncate(KEY_DIGITS);
    key
}

fn total_length(files: &[PathBuf]) -> Option<u64> {
    let lengths = files
        .iter()
        .map(|file| Some(fs::metadata(file).ok()?.len()));
    lengths.sum()
}

/// Gives a folder's description today's date. (If it can't, the folder counts as older than it is.)
fn mark_as_used(folder: &Path) {
    if let Ok(about) = fs::File::options().append(true).open(folder.join(ABOUT)) {
        let _ = about.set_modified(SystemTime::now());
    }
}

/// The cache of this user.
struct Cache {
    folder: PathBuf,
    digests: Digests,
}

impl Cache {
    fn new(settings: &Settings) -> Self {
        Self {
            folder: settings.own_cache.join("packed"),
            digests: Digests::new(settings.own_cache.join("digests")),
        }
    }

    fn list(&self) -> Vec<PackedWeights> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries
            .filter_map(|entry| describe(&entry.path()))
            .collect();
        all.sort_by_key(|weights| std::cmp::Reverse(weights.last_used));
        all
    }

    /// Whether there is a folder of files as long as these.
    fn has_folder_like(&self, checkpoint: &Checkpoint) -> bool {
        let length = total_length(&checkpoint.files);
        let mut all = self.list().into_iter();
        all.any(|weights| Some(weights.file_bytes) == length)
    }

    /// The folder of a checkpoint, for this process alone; `None`: there is no room, or another process writes to it.
    fn folder_to_write(
        &self,
        checkpoint: &Checkpoint,
        limit: u64,
        is_stopped: &AtomicBool,
    ) -> Result<Option<WritableFolder>> {
        // The other cores decode meanwhile.
        let Some(contents) = self.digests.of_files(&checkpoint.files, 1, is_stopped)? else {
            return Ok(None);
        };
        let key = key(&contents, checkpoint.precision);
        files::create_folder(&self.folder)?;
        if !self.make_room(&key, checkpoint.bytes, limit)? {
            return Ok(None);
        }
        let path = self.folder.join(&key);
        let Some(lock) = files::try_lock(&path.join(LOCK))? else {
            return Ok(None);
        };
        let about = About {
            source: std::path::absolute(&checkpoint.source).unwrap_or(checkpoint.source.clone()),
            precision: name_of(checkpoint.precision),
            file_bytes: total_length(&checkpoint.files).unwrap_or(0),
        };
        let about = serde_json::to_vec(&about).map_err(|error| Error::io(&path, error.into()))?;
        files::write(&path.join(ABOUT), about, Access::Shared)?;
        // Now that this process knows where to write, there is time.
        threads::yield_to_others();
        let lock = Box::new(lock);
        Ok(Some(WritableFolder { path, lock }))
    }

    /// Removes what was not used for the longest until `bytes` more fit beside `key`; returns whether the disk has room for them.
    fn make_room(&self, key: &str, bytes: u64, limit: u64) -> Result<bool> {
        let others = self.list().into_iter().filter(|weights| weights.id != key);
        let mut taken = bytes;
        for weights in others {
            taken = taken.saturating_add(weights.bytes);
            if taken > limit {
                self.remove(&weights.id)?;
                taken -= weights.bytes;
            }
        }
        // Other programs need the disk, too.
        let held = describe(&self.folder.join(key)).map_or(0, |weights| weights.bytes);
        let missing = bytes.saturating_sub(held);
        Ok(free_bytes(&self.folder).is_none_or(|free| missing <= free / 2))
    }

    /// Removes a folder.
    fn remove(&self, id: &str) -> Result<()> {
        let folder = self.folder.join(id);
        fs::remove_dir_all(&folder).map_err(|error| files::write_error(&folder, error))
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
    let about = folder.join(ABOUT);
    let last_used = fs::metadata(&about).ok()?.modified().ok()?;
    let About {
        source,
        precision,
        file_bytes,
    } = serde_json::from_slice(&files::read(&about, Small::Settings).ok()?).ok()?;
    let entries = fs::read_dir(folder).ok()?.flatten();
    let lengths = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    Some(PackedWeights {
        id: folder.file_name()?.to_str()?.to_owned(),
        model: source,
        precision,
        bytes: lengths.sum(),
        last_used,
        file_bytes,
    })
}

/// A precision as settings name it.
fn name_of(precision: WeightPrecision) -> String {
    match precision {
        WeightPrecision::Stored => "stored".into(),
        WeightPrecision::F32 => "f32".into(),
        WeightPrecision::Quantized(storage) => storage.name().to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests;
