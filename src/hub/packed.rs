//! The cache of packed weights: where the CPU kernels keep matrices in their layout, so that later starts map them.
//!
//! A folder for each checkpoint and precision lies in `packed`, in our own cache. Its name is its [`key`]: what the
//! checkpoint's files contain, how weights are held in memory, and the version of all that turns the one into the other. What
//! lies in it is the kernels' own affair ([`MatrixCache`]), but for a description and its lock ([`folders`]).
//!
//! To open a checkpoint again takes its contents' digest, and to read 17 GB takes seconds: `digest` keeps those of files
//! that did not change. The first process reads them in the background, when cores are free, and later ones go on where it
//! ended: until then, nothing is kept.

mod digest;
mod folders;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::thread;

use sha2::{Digest as _, Sha256};

use super::checksum::hexadecimal;
use super::environment::Settings;
use crate::backend::WeightPrecision;
use crate::backend::cpu::{LAYOUT_VERSION, MatrixCache, WritableFolder};
use crate::error::{Error, Result};
use crate::threads;
use digest::Digests;
pub(crate) use digest::SourceFile;
#[cfg(feature = "cli")]
pub(crate) use folders::PackedWeights;
use folders::{About, Folders};

/// The variable with the limit.
const VARIABLE: &str = "SPECDEC_PACKED_WEIGHTS_GIB";
const DEFAULT_GIB: u64 = 64;
/// Below this, packing takes less time than a person notices.
const MIN_BYTES: u64 = 64 << 20;
/// Hexadecimal digits of a folder's name: half of those of a hash.
const KEY_DIGITS: usize = 32;

/// A checkpoint whose weights are to be packed.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    /// What it was loaded from.
    pub source: PathBuf,
    /// All files that its weights follow from.
    pub files: Vec<SourceFile>,
    pub precision: WeightPrecision,
    /// Bytes of the packed weights.
    pub bytes: u64,
}

/// The matrices of a checkpoint that are packed already, and the place for the others; `None`: none are kept.
pub(crate) fn open(checkpoint: Checkpoint) -> Result<Option<MatrixCache>> {
    let limit = limit()?;
    // (Elsewhere, files that are mapped can't be removed.)
    if !cfg!(unix) || checkpoint.files.is_empty() || checkpoint.bytes < MIN_BYTES {
        return Ok(None);
    }
    if checkpoint.bytes > limit {
        tracing::info!("packed weights are not kept: they take more than {VARIABLE} allows");
        return Ok(None);
    }
    let cache = Cache::new(&Settings::from_env());
    let folder = cache.existing_folder(&checkpoint);
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
#[cfg(feature = "cli")]
pub(crate) fn folder() -> PathBuf {
    Cache::new(&Settings::from_env()).folders.path
}

/// How many bytes may be kept.
pub(crate) fn limit() -> Result<u64> {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    if value.is_empty() {
        return Ok(DEFAULT_GIB << 30);
    }
    let gibibytes: Option<u64> = value.trim().parse().ok();
    let bytes = gibibytes.and_then(|number| number.checked_mul(1 << 30));
    bytes.ok_or_else(|| {
        let expected = "a whole number of gibibytes, or 0 to keep no packed weights";
        Error::invalid(VARIABLE, value, expected)
    })
}

/// All packed weights that are kept, those that were used last first.
#[cfg(feature = "cli")]
pub(crate) fn list() -> Vec<PackedWeights> {
    Cache::new(&Settings::from_env()).folders.list()
}

/// Removes packed weights. Processes that use them go on; false if one is writing them.
#[cfg(feature = "cli")]
pub(crate) fn remove(weights: &PackedWeights) -> Result<bool> {
    Cache::new(&Settings::from_env())
        .folders
        .remove(&weights.id)
}

/// The name of the folder for files of these contents: everything that the packed bytes follow from.
fn key(contents: &[String], precision: WeightPrecision) -> String {
    let endian = match cfg!(target_endian = "little") {
        true => "little",
        false => "big",
    };
    let version = env!("CARGO_PKG_VERSION");
    let mut all = format!("{version} {LAYOUT_VERSION} {endian} {precision:?}");
    for content in contents {
        all.push('\n');
        all.push_str(content);
    }
    let mut key = hexadecimal(&Sha256::digest(all));
    key.truncate(KEY_DIGITS);
    key
}

/// The cache of this user.
struct Cache {
    folders: Folders,
    digests: Digests,
}

impl Cache {
    fn new(settings: &Settings) -> Self {
        Self {
            folders: Folders {
                path: settings.own_cache.join("packed"),
            },
            digests: Digests::new(settings.own_cache.join("digests")),
        }
    }

    /// The folder of a checkpoint, if its contents are known and there is one.
    fn existing_folder(&self, checkpoint: &Checkpoint) -> Option<PathBuf> {
        let files = &checkpoint.files;
        let known = self.digests.known(files);
        let contents = known.or_else(|| {
            // A copy of a file that is known, or its new date: reading it takes less time than packing it.
            let bytes = files.iter().map(|file| file.bytes).sum();
            if !self.folders.have_files_of(bytes) {
                return None;
            }
            let threads = thread::available_parallelism().map_or(1, usize::from);
            let digests = self
                .digests
                .of_files(files, threads, &AtomicBool::new(false));
            // (If a file can't be read, or the record not be written, the weights are packed.)
            digests.ok().flatten()
        });
        self.folders.used(&key(&contents?, checkpoint.precision))
    }

    /// The folder of a checkpoint, for this process alone; `None`: there is no room, another process writes to it, or the files
    /// changed since they were opened.
    fn folder_to_write(
        &self,
        checkpoint: &Checkpoint,
        limit: u64,
        is_stopped: &AtomicBool,
    ) -> Result<Option<WritableFolder>> {
        let files = &checkpoint.files;
        // This model decodes meanwhile, and each short run reads a little more.
        threads::yield_to_others();
        let Some(contents) = self.digests.of_files(files, 1, is_stopped)? else {
            tracing::info!(
                "packed weights are not kept: the model's files changed, or it was dropped"
            );
            return Ok(None);
        };
        let key = key(&contents, checkpoint.precision);
        if !self.folders.make_room(&key, checkpoint.bytes, limit)? {
            tracing::info!("packed weights are not kept: they would take half of the free disk");
            return Ok(None);
        }
        let about = About::new(
            &checkpoint.source,
            checkpoint.precision,
            files.iter().map(|file| file.bytes).sum(),
            checkpoint.bytes,
        );
        let folder = self.folders.lock(&key, &about)?;
        if folder.is_none() {
            tracing::info!("packed weights are not kept: another process writes them");
        }
        Ok(folder)
    }
}

#[cfg(test)]
mod tests;
