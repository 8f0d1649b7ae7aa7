//! Digests of what large files contain, and a record of them, so that a file that did not change is read once, by one process or
//! by several in turn.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::files::{self, Access, Small};
use crate::hub::checksum::hexadecimal;

/// Bytes that are hashed together. (Part of what a digest is.)
const CHUNK: u64 = 16 << 20;

/// Chunks after which their digests are recorded: a process that is killed loses no more.
const RECORDED_TOGETHER: u64 = 8;

/// The SHA-256 of a chunk, in hexadecimal.
type ChunkDigest = String;

/// A file whose contents are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// What changes whenever its content does, as it was when the file was opened.
    state: String,
}

impl SourceFile {
    /// A file, as it was when it was opened.
    pub(crate) fn new(path: &Path, opened: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            bytes: opened.len(),
            state: state_of(opened),
        }
    }

    fn chunks(&self) -> u64 {
        self.bytes.div_ceil(CHUNK)
    }

    /// The SHA-256 of its length and of the digests of its chunks; `None` if some are not known, or the file changed.
    fn digest(&self, chunks: &[ChunkDigest]) -> Option<String> {
        let is_whole = chunks.len() as u64 == self.chunks();
        (is_whole && self.is_unchanged()).then(|| {
            let mut all = Sha256::new();
            all.update(self.bytes.to_le_bytes());
            for chunk in chunks {
                all.update(chunk);
            }
            hexadecimal(&all.finalize())
        })
    }

    /// Whether the path still names the file that was opened, unchanged.
    fn is_unchanged(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|now| state_of(&now) == self.state)
    }
}

/// The record: a folder with a small file for each path.
#[derive(Debug, Clone)]
pub(super) struct Digests {
    folder: PathBuf,
}

impl Digests {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The digests of files that did not change since they were read; `None` if one is not known.
    pub(super) fn known(&self, files: &[SourceFile]) -> Option<Vec<String>> {
        let digests = files.iter().map(|file| file.digest(&self.recorded(file)));
        digests.collect()
    }

    /// The digests of files, which so many threads read where they are not known; `None` if a file changed since it was opened, or
    /// the flag was set meanwhile.
    pub(super) fn of_files(
        &self,
        files: &[SourceFile],
        threads: usize,
        is_stopped: &AtomicBool,
    ) -> Result<Option<Vec<String>>> {
        let digests = files
            .iter()
            .map(|file| self.read(file, threads, is_stopped));
        digests.collect()
    }

    /// Reads what no process has read yet. The chunks that were read when it is stopped are known from then on.
    fn read(
        &self,
        file: &SourceFile,
        threads: usize,
        is_stopped: &AtomicBool,
    ) -> Result<Option<String>> {
        let mut chunks = self.recorded(file);
        while file.is_unchanged() && !is_stopped.load(Ordering::Relaxed) {
            let start = chunks.len() as u64;
            let end = file.chunks().min(start + RECORDED_TOGETHER);
            if start == end {
                break;
            }
            let read = read_chunks(&file.path, start..end, threads, is_stopped);
            chunks.extend(read.map_err(|error| Error::io(&file.path, error))?);
            // What was read of another content is not recorded.
            if file.is_unchanged() {
                self.record(file, &chunks)?;
            }
        }
        Ok(file.digest(&chunks))
    }

    /// The digests of a file's first chunks, as far as they are known: a line each, after one with the file's state.
    fn recorded(&self, file: &SourceFile) -> Vec<ChunkDigest> {
        let record = self.record_of(file);
        let text = record.and_then(|path| files::read_text(&path, Small::Settings).ok());
        let text = text.unwrap_or_default();
        let mut lines = text.lines();
        let chunks = usize::try_from(file.chunks()).unwrap_or(usize::MAX);
        match lines.next() == Some(&file.state) {
            true => lines.take(chunks).map(ChunkDigest::from).collect(),
            false => Vec::new(),
        }
    }

    fn record(&self, file: &SourceFile, chunks: &[ChunkDigest]) -> Result<()> {
        let Some(record) = self.record_of(file) else {
            return Ok(());
        };
        files::create_folder(&self.folder)?;
        let known = format!("{}\n{}", file.state, chunks.join("\n"));
        files::write(&record, known, Access::Shared)
    }

    fn record_of(&self, file: &SourceFile) -> Option<PathBuf> {
        let path = file.path.canonicalize().ok()?;
        let name = hexadecimal(&Sha256::digest(path.as_os_str().as_encoded_bytes()));
        Some(self.folder.join(name))
    }
}

/// What changes whenever a file's content does.
fn state_of(metadata: &Metadata) -> String {
    let modified = metadata.modified().ok();
    let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = modified.map_or(0, |since| since.as_nanos());
    let state = format!("{} bytes, modified {nanoseconds}", metadata.len());
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // The date of change, unlike that of modification, can't be set.
        let (inode, seconds, rest) = (metadata.ino(), metadata.ctime(), metadata.ctime_nsec());
        format!("{state}, inode {inode}, changed {seconds}.{rest:09}")
    }
    #[cfg(not(unix))]
    state
}

/// The digests of chunks, read by so many threads: of the first of them if the flag was set meanwhile.
fn read_chunks(
    file: &Path,
    chunks: Range<u64>,
    threads: usize,
    is_stopped: &AtomicBool,
) -> io::Result<Vec<ChunkDigest>> {
    let next = AtomicU64::new(chunks.start);
    let read_next = || -> io::Result<Vec<(u64, ChunkDigest)>> {
        let mut reader = File::open(file)?;
        let (mut buffer, mut read) = (Vec::new(), Vec::new());
        // (Chunks are taken in order, and finished once they are taken: those that are done have no gap.)
        while !is_stopped.load(Ordering::Relaxed) {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks.end {
                break;
            }
            reader.seek(SeekFrom::Start(chunk * CHUNK))?;
            buffer.clear();
            reader.by_ref().take(CHUNK).read_to_end(&mut buffer)?;
            read.push((chunk, hexadecimal(&Sha256::digest(&buffer))));
        }
        Ok(read)
    };
    let mut read = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(read_next)).collect();
        let mut read = read_next()?;
        for other in others {
            let of_other = other
                .join()
                .map_err(|_| io::Error::other("a thread panicked"))?;
            read.extend(of_other?);
        }
        io::Result::Ok(read)
    })?;
    read.sort();
    Ok(read.into_iter().map(|(_, digest)| digest).collect())
}
