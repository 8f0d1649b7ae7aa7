//! The thread that writes packed matrices to their folder, one after the other.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::checksum::checksum_alone;
use super::index::{self, Entry, Index};
use super::regular;
use super::{FindFolder, WritableFolder};
use crate::cpu::memory::ALIGNMENT;
use crate::cpu::pack::Packed;

/// The name of the file with the matrices.
pub(super) const WEIGHTS: &str = "weights";

/// Bytes that are written between two looks at whether the model was dropped.
const SLICE: usize = 8 << 20;

/// A matrix to be written, by its name.
type Job = (String, Packed);

/// The sending side of the thread, which starts with the first matrix and ends when this is dropped.
pub(super) struct Writer {
    state: Mutex<State>,
    is_stopped: Arc<AtomicBool>,
    is_corrupt: Arc<AtomicBool>,
}

enum State {
    Idle(Box<FindFolder>),
    /// The sending side, and the process that the thread is of: a fork has no copy of it.
    Running(Sender<Job>, u32),
    /// There is no thread to be had.
    Failed,
}

impl Writer {
    pub(super) fn new(find_folder: Box<FindFolder>, is_corrupt: Arc<AtomicBool>) -> Self {
        Self {
            state: Mutex::new(State::Idle(find_folder)),
            is_stopped: Arc::default(),
            is_corrupt,
        }
    }

    /// Hands a matrix to the thread.
    pub(super) fn put(&self, name: &str, packed: &Packed) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Idle(_) = *state
            && let State::Idle(find_folder) = std::mem::replace(&mut *state, State::Failed)
        {
            *state = self.start(find_folder);
        }
        if let State::Running(jobs, process) = &*state
            && *process == process::id()
        {
            // An ended thread takes nothing: the disk is full, or another process writes.
            let _ = jobs.send((name.to_owned(), packed.clone()));
        }
    }

    fn start(&self, find_folder: Box<FindFolder>) -> State {
        let (sender, jobs) = mpsc::channel();
        let (is_stopped, is_corrupt) = (self.is_stopped.clone(), self.is_corrupt.clone());
        let thread = thread::Builder::new().name("specdec-pack".into());
        let thread = thread.spawn(move || {
            let Some(folder) = find_folder(&is_stopped) else {
                return;
            };
            if let Err(error) = write_all(&folder, &jobs, &is_stopped, &is_corrupt) {
                tracing::info!(
                    "packed weights are not kept in {}: {error}",
                    folder.path.display()
                );
            }
        });
        match thread {
            Ok(_) => State::Running(sender, process::id()),
            Err(_) => State::Failed,
        }
    }
}

impl Drop for Writer {
    /// What is not written yet is left to the next process: the matrices' memory is to be freed.
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

fn write_all(
    folder: &WritableFolder,
    jobs: &Receiver<Job>,
    is_stopped: &AtomicBool,
    is_corrupt: &AtomicBool,
) -> io::Result<()> {
    let (mut files, mut is_new) = (None, false);
    for (name, packed) in jobs {
        // Others map what lies there: it is removed, not written over. (Once: what this process maps stays as corrupt as it is.)
        if !is_new && is_corrupt.load(Ordering::Relaxed) {
            (files, is_new) = (None, true);
            remove(&folder.path)?;
        }
        let files = match &mut files {
            Some(files) => files,
            None => files.insert(Files::open(&folder.path)?),
        };
        if !files.append(&name, &packed, is_stopped)? {
            break;
        }
    }
    Ok(())
}

/// Removes both files; an index without weights is no index.
fn remove(folder: &Path) -> io::Result<()> {
    for name in [WEIGHTS, index::FILE] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The open files of a folder, both of which are appended to.
struct Files {
    index: Index,
    index_file: File,
    weights: File,
    /// Where the next matrix may lie: after all that was ever written, since others may map it, whatever the index says.
    end: usize,
}

impl Files {
    fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(index::FILE);
        let mut index = Index::read(&path).unwrap_or_default();
        let held = fs::metadata(folder.join(WEIGHTS)).map_or(0, |weights| weights.len());
        if held < index.end as u64 {
            remove(folder)?;
            index = Index::default();
        }
        let mut index_file = regular::open_or_create(&path)?;
        // An interrupted writer's last line.
        index_file.set_len(index.valid_bytes as u64)?;
        index_file.seek(SeekFrom::End(0))?;
        let weights = regular::open_or_create(&folder.join(WEIGHTS))?;
        let end = usize::try_from(weights.metadata()?.len()).map_err(io::Error::other)?;
        Ok(Self {
            index,
            index_file,
            weights,
            end,
        })
    }

    /// Appends a matrix, unless it lies there; false if the flag was set meanwhile.
    fn append(&mut self, name: &str, packed: &Packed, is_stopped: &AtomicBool) -> io::Result<bool> {
        if self.index.get(name).is_some() {
            return Ok(!is_stopped.load(Ordering::Relaxed));
        }
        let start = self.end.next_multiple_of(ALIGNMENT);
        let bytes = packed.weights.as_bytes();
        self.weights.seek(SeekFrom::Start(start as u64))?;
        for slice in bytes.chunks(SLICE) {
            if is_stopped.load(Ordering::Relaxed) {
                return Ok(false);
            }
            self.weights.write_all(slice)?;
        }
        self.end = start + bytes.len();
        let entry = Entry::new(name, packed, start, checksum_alone(bytes));
        self.index_file.write_all(entry.line().as_bytes())?;
        self.index.add(entry);
        Ok(true)
    }
}
