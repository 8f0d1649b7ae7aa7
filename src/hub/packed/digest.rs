//! Digests of what large files contain, and a record of them, so that a file that did not change is read once.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::files::{self, Access, Small};
use crate::hub::checksum::hexadecimal;

/// Bytes that are hashed together. (Part of what a digest is.)
const CHUNK: u64 = 16 << 20;

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
        files.iter().map(|file| self.known_of(file)).collect()
    }

    /// The digests of files, which so many threads read where they are not known; `None` if a file changed since it was opened, or
    /// the flag was set meanwhile.
    pub(super) fn of_files(
        &self,
        files: &[SourceFile],
        threads: usize,
        is_stopped: &AtomicBool,
    ) -> Result<Option<Vec<String>>> {
        let digests = files.iter().map(|file| match self.known_of(file) {
            Some(digest) => Ok(Some(digest)),
            None => self.read(file, threads, is_stopped),
        });
        digests.collect()
    }

    fn known_of(&self, file: &SourceFile) -> Option<String> {
        let record = files::read_text(&self.record_of(file)?, Small::Settings).ok()?;
        let (state, digest) = record.split_once('\n')?;
        (state == file.state && file.is_unchanged()).then(|| digest.to_owned())
    }

    fn read(
        &self,
        file: &SourceFile,
        threads: usize,
        is_stopped: &AtomicBool,
    ) -> Result<Option<String>> {
        if !file.is_unchanged() {
            return Ok(None);
        }
        let digest = digest(&file.path, file.bytes, threads, is_stopped);
        let digest = digest.map_err(|error| Error::io(&file.path, error))?;
        let (Some(digest), true) = (digest, file.is_unchanged()) else {
            return Ok(None);
        };
        if let Some(record) = self.record_of(file) {
            files::create_folder(&self.folder)?;
            let known = format!("{}\n{digest}", file.state);
            files::write(&record, known, Access::Shared)?;
        }
        Ok(Some(digest))
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

/// The SHA-256 of those of a file's chunks; `None` if the flag was set meanwhile.
fn digest(
    file: &Path,
    length: u64,
    threads: usize,
    is_stopped: &AtomicBool,
) -> io::Result<Option<String>> {
    let chunks = length.div_ceil(CHUNK);
    let next = AtomicU64::new(0);
    let digests = Mutex::new(vec![[0; 32]; usize::try_from(chunks).unwrap_or(0)]);
    let read_chunks = || -> io::Result<()> {
        let mut reader = File::open(file)?;
        let mut buffer = Vec::new();
        while !is_stopped.load(Ordering::Relaxed) {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                break;
            }
            reader.seek(SeekFrom::Start(chunk * CHUNK))?;
            buffer.clear();
            reader.by_ref().take(CHUNK).read_to_end(&mut buffer)?;
            let digest: [u8; 32] = Sha256::digest(&buffer).into();
            let mut digests = digests
                .lock()
                .map_err(|_| io::Error::other("a thread panicked"))?;
            digests[chunk as usize] = digest;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(read_chunks)).collect();
        let mut result = read_chunks();
        for other in others {
            let of_other = other
                .join()
                .map_err(|_| io::Error::other("a thread panicked"));
            result = result.and(of_other.flatten());
        }
        result
    })?;
    if is_stopped.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let mut all = Sha256::new();
    all.update(length.to_le_bytes());
    let digests = digests
        .into_inner()
        .map_err(|_| io::Error::other("a thread panicked"))?;
    for digest in digests {
        all.update(digest);
    }
    Ok(Some(hexadecimal(&all.finalize())))
}
