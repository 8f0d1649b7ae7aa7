//! Packed matrices that outlive the process: written once to a folder, mapped by later processes, which share them.
//!
//! Packing reads every weight of a checkpoint and writes it to fresh memory, which takes a second for each gigabyte or two. A
//! mapped file takes none of it, and its pages are shared by all processes of the host.
//!
//! Two files lie in a folder: `weights`, the matrices one after the other, and `index` ([`index`]), a line for each with its
//! name, shape, place and checksum. The weights come first, then their line: whatever lines there are is complete, so that a
//! writer that is interrupted ([`writer`]) loses one matrix at most, and the next goes on from there. A matrix is checked when
//! it is mapped; a folder with a corrupt one is written anew.
//!
//! What a name stands for is the caller's affair: a folder is for one checkpoint, precision and [`LAYOUT_VERSION`].

mod checksum;
mod index;
mod regular;
mod writer;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::Mmap;

use super::pack::Packed;
use super::pool::Pool;
use super::weights::Weights;
use checksum::checksum;
use index::{Entry, Index};
use writer::Writer;

/// Raised whenever what a name stands for changes: the layouts, how values are rounded to them, or, in the crates above, which
/// rows of which tensors a matrix is made of.
pub const LAYOUT_VERSION: u32 = 1;

/// The matrices of one checkpoint that are packed already, and a thread that writes others.
pub struct MatrixCache {
    mapped: Option<Mapped>,
    writer: Writer,
    /// Whether a matrix was corrupt, so that the folder is written anew.
    is_corrupt: Arc<AtomicBool>,
}

/// A folder that this process alone writes to.
pub struct WritableFolder {
    /// The folder, which exists.
    pub path: PathBuf,
    /// Dropped when nothing more is written.
    pub lock: Box<dyn Any>,
}

/// Finds the folder to write to; `None`: nothing is to be written. It runs on the writer's thread, and gives up early when the
/// flag is set.
pub type FindFolder = dyn FnOnce(&AtomicBool) -> Option<WritableFolder> + Send;

/// The files of a folder as they were when it was opened.
struct Mapped {
    folder: PathBuf,
    index: Index,
    weights: Arc<Mmap>,
}

impl MatrixCache {
    /// Opens a folder that earlier processes wrote to, if there is one. `find_folder` is called once there is something to write.
    pub fn new(folder: Option<&Path>, find_folder: Box<FindFolder>) -> Self {
        let is_corrupt = Arc::new(AtomicBool::new(false));
        Self {
            mapped: folder.and_then(Mapped::open),
            writer: Writer::new(find_folder, is_corrupt.clone()),
            is_corrupt,
        }
    }

    /// The matrix of that name, if it lies there whole.
    pub(super) fn get(&self, name: &str, shape: [usize; 2], pool: &Pool) -> Option<Packed> {
        let mapped = self.mapped.as_ref()?;
        let entry = mapped.index.get(name)?;
        let packed = mapped.matrix(entry, shape, pool);
        if packed.is_none() && !self.is_corrupt.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "packed weights in {} are corrupt ({name}): they are written anew",
                mapped.folder.display()
            );
        }
        packed
    }

    /// Writes a matrix, later.
    pub(super) fn put(&self, name: &str, packed: &Packed) {
        self.writer.put(name, packed);
    }
}

impl Mapped {
    fn open(folder: &Path) -> Option<Self> {
        let index = Index::read(&folder.join(index::FILE)).ok()?;
        let weights = regular::open(&folder.join(writer::WEIGHTS)).ok()?;
        // SAFETY: the map is read-only. The file is appended to and removed, but never shortened, nor written over
        // (`writer::Files`).
        let weights = unsafe { Mmap::map(&weights) }.ok()?;
        // Only hints: large pages where the file system has them, and its own reading ahead.
        #[cfg(target_os = "linux")]
        drop(weights.advise(memmap2::Advice::HugePage));
        Some(Self {
            folder: folder.to_owned(),
            index,
            weights: Arc::new(weights),
        })
    }

    fn matrix(&self, entry: &Entry, shape: [usize; 2], pool: &Pool) -> Option<Packed> {
        let bytes = entry.start..entry.start.checked_add(entry.bytes)?;
        let stored = self.weights.get(bytes.clone())?;
        if entry.shape != shape || checksum(stored, pool) != entry.checksum {
            return None;
        }
        let weights = Weights::of_file(&entry.layout, &self.weights, bytes)?;
        Packed::of_weights(entry.storage, shape, weights)
    }
}

#[cfg(test)]
mod tests;
