//! The thread that writes packed matrices to their folder, one after the other.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::checksum::checksum_alone;
use super::index::{self, Entry, Index};
use super::{FindFolder, WritableFolder};
use crate::cpu::memory::ALIGNMENT;
use crate::cpu::pack::Packed;

/// The name of the file with the matrices.
pub(super) const WEIGHTS: &str = "weights";

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
    Running(Sender<Job>),
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
        if let State::Running(jobs) = &*state {
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
            Ok(_) => State::Running(sender),
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
    let mut files: Option<Files> = None;
    for (name, packed) in jobs {
        if is_stopped.load(Ordering::Relaxed) {
            break;
        }
        // Others map what lies there: it is removed, not written over.
        if is_corrupt.swap(false, Ordering::Relaxed) {
            files = None;
            remove(&folder.path)?;
        }
        let files = match &mut files {
            Some(files) => files,
            None => files.insert(Files::open(&folder.path)?),
        };
        files.append(&name, &packed)?;
    }
    Ok(())
}

/// Removes both files, the index first.
fn remove(folder: &Path) -> io::Result<()> {
    for name in [index::FILE, WEIGHTS] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The open files of a folder.
struct Files {
    index: Index,
    index_file: File,
    weights: File,
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
        let open = |path: &Path| {
            let mut options = File::options();
            options.create(true).truncate(false).write(true).open(path)
        };
        let mut index_file = open(&path)?;
        // An interrupted writer's last line.
        index_file.set_len(index.valid_bytes as u64)?;
        index_file.seek(SeekFrom::End(0))?;
        Ok(Self {
            index,
            index_file,
            weights: open(&folder.join(WEIGHTS))?,
        })
    }

    /// Appends a matrix, unless it lies there.
    fn append(&mut self, name: &str, packed: &Packed) -> io::Result<()> {
        if self.index.get(name).is_some() {
            return Ok(());
        }
        let start = self.index.end.next_multiple_of(ALIGNMENT);
        let bytes = packed.weights.as_bytes();
        self.weights.seek(SeekFrom::Start(start as u64))?;
        self.weights.write_all(bytes)?;
        let entry = Entry::new(name, packed, start, checksum_alone(bytes));
        self.index_file.write_all(entry.line().as_bytes())?;
        self.index.add(entry);
        Ok(())
    }
}
