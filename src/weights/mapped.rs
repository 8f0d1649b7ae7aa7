//! Memory-mapped weight files and the tensors in them, for all containers.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    fs::{File, Metadata},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;

use super::{MatrixSource, StorageType, StoredRows, StoredTensor};
use crate::error::{Error, Result};
use crate::files;

/// The start of a Git LFS pointer file.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// A file mapped for reading.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    file: File,
    /// As it was when it was opened.
    metadata: Metadata,
    map: Mmap,
}

impl MappedFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = files::open(path)?;
        // SAFETY: the map is read-only and private to this struct. Another process could still truncate or rewrite the
        // file; every reader of mapped weights takes that risk, and weight files are not written in place. A read past a new end
        // is the signal SIGBUS, which our programs explain (`cli::bus_error`).
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(path, source))?;
        if map.starts_with(LFS_POINTER) {
            let reason =
                "this is a Git LFS pointer, not the file itself: run `git lfs pull` in its folder";
            return Err(Error::corrupt(path, reason));
        }
        let metadata = file.metadata().map_err(|source| Error::io(path, source))?;
        let path = path.to_owned();
        Ok(Self {
            path,
            file,
            metadata,
            map,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Whether the file was not written to since it was opened. (Another may have its name now: the map is of this one.)
    fn is_unchanged(&self) -> bool {
        let now = self.file.metadata();
        now.is_ok_and(|now| {
            let date = |metadata: &Metadata| metadata.modified().ok();
            now.len() == self.metadata.len() && date(&now) == date(&self.metadata)
        })
    }

    /// Where a part of the map lies in the file; `None` if it is none.
    fn range_of(&self, part: &[u8]) -> Option<Range<usize>> {
        let (whole, part) = (self.bytes().as_ptr_range(), part.as_ptr_range());
        let is_part = whole.start <= part.start && part.end <= whole.end;
        is_part.then(|| {
            let start = part.start.addr() - whole.start.addr();
            start..start + (part.end.addr() - part.start.addr())
        })
    }

    /// Frees the memory of a part of the map; later reads get it from the file again.
    #[cfg(unix)]
    fn release(&self, part: &[u8]) {
        let Some(range) = self.range_of(part) else {
            return;
        };
        let (start, length) = (range.start, range.len());
        // SAFETY: the map is of a file and read-only: its pages can be read from the file again.
        #[allow(unsafe_code)]
        let released = unsafe {
            self.map
                .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, length)
        };
        // Only a hint: if it fails, the system frees the pages when memory is short.
        drop(released);
    }

    #[cfg(not(unix))]
    fn release(&self, _: &[u8]) {}
}

/// A tensor's location.
#[derive(Debug)]
pub(super) struct Location {
    pub(super) name: String,
    pub(super) storage: StorageType,
    /// Outermost first.
    pub(super) shape: Vec<usize>,
    /// Offsets from the file's start.
    pub(super) bytes: Range<usize>,
}

/// A tensor, or rows of one, in a mapped file.
pub(super) struct MappedTensor {
    file: Arc<MappedFile>,
    storage: StorageType,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl MappedTensor {
    fn data(&self) -> &[u8] {
        self.file
            .bytes()
            .get(self.bytes.clone())
            .unwrap_or_default()
    }
}

impl MatrixSource for MappedTensor {
    fn tensor(&self) -> specdec_backend::Result<StoredTensor<'_>> {
        self.check()?;
        Ok(StoredTensor {
            storage: self.storage,
            shape: self.shape.clone(),
            data: Cow::Borrowed(self.data()),
        })
    }

    fn check(&self) -> specdec_backend::Result<()> {
        match self.file.is_unchanged() {
            true => Ok(()),
            false => Err(specdec_backend::Error::Compute(format!(
                "{} was changed while it is in use: load the model again",
                self.file.path().display()
            ))),
        }
    }

    fn release(&self) {
        self.file.release(self.data());
    }
}

/// The tensors of one or more mapped files.
#[derive(Debug, Default)]
pub(super) struct MappedTensors {
    files: Vec<Arc<MappedFile>>,
    /// Each with the index of its file.
    tensors: Vec<(usize, Location)>,
    by_name: HashMap<String, usize>,
}

impl MappedTensors {
    /// Adds a file and its tensors; names must be unique over all files.
    pub(super) fn add(&mut self, file: MappedFile, tensors: Vec<Location>) -> Result<()> {
        for tensor in tensors {
            match self.by_name.entry(tensor.name.clone()) {
                Entry::Vacant(entry) => entry.insert(self.tensors.len()),
                Entry::Occupied(_) => {
                    let reason = format!(
                        "tensor {:?}: expected a name of its own, found it twice",
                        tensor.name
                    );
                    return Err(Error::corrupt(file.path(), reason));
                }
            };
            self.tensors.push((self.files.len(), tensor));
        }
        self.files.push(Arc::new(file));
        Ok(())
    }

    /// The files, in the order in which they were added, each as it was when it was opened.
    pub(super) fn files(&self) -> Vec<(&Path, &Metadata)> {
        let files = self.files.iter();
        files.map(|file| (file.path(), &file.metadata)).collect()
    }

    /// The number of the file that was added last.
    pub(super) fn last_file(&self) -> usize {
        self.files.len().saturating_sub(1)
    }

    /// Bytes of a file, by its number.
    pub(super) fn bytes(&self, file: usize, range: Range<usize>) -> Option<&[u8]> {
        self.files.get(file)?.bytes().get(range)
    }

    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let names = self.tensors.iter();
        names.map(|(_, tensor)| tensor.name.as_str()).collect()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<StoredTensor<'_>> {
        let (file, tensor) = self.tensors.get(*self.by_name.get(name)?)?;
        let bytes = self.files.get(*file)?.bytes().get(tensor.bytes.clone())?;
        Some(StoredTensor {
            storage: tensor.storage,
            shape: tensor.shape.clone(),
            data: Cow::Borrowed(bytes),
        })
    }

    /// A matrix whose rows are read one by one.
    pub(super) fn rows(&self, name: &str) -> Option<StoredRows> {
        let (file, tensor) = self.tensors.get(*self.by_name.get(name)?)?;
        let file = self.files.get(*file)?.clone();
        StoredRows::mapped(file, tensor.bytes.clone(), tensor.storage, &tensor.shape)
    }

    /// Where a tensor that this returned is read again, without the other files; `None` if its data are a copy.
    pub(super) fn source(&self, tensor: &StoredTensor<'_>) -> Option<MappedTensor> {
        let Cow::Borrowed(bytes) = tensor.data else {
            return None;
        };
        let found = self
            .files
            .iter()
            .find_map(|file| Some((file, file.range_of(bytes)?)));
        found.map(|(file, bytes)| MappedTensor {
            file: file.clone(),
            storage: tensor.storage,
            shape: tensor.shape.clone(),
            bytes,
        })
    }

    pub(super) fn release(&self, tensor: &StoredTensor<'_>) {
        if let Cow::Borrowed(bytes) = tensor.data {
            self.files.iter().for_each(|file| file.release(bytes));
        }
    }

    pub(super) fn file_of(&self, name: &str) -> Option<&Path> {
        let (file, _) = self.tensors.get(*self.by_name.get(name)?)?;
        self.files.get(*file).map(|file| file.path())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_tensor_of_a_file_that_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, [1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        let location = Location {
            name: "a".into(),
            storage: StorageType::F32,
            shape: vec![1, 1],
            bytes: 4..8,
        };
        let mut tensors = MappedTensors::default();
        let file = MappedFile::open(&path).unwrap();
        tensors.add(file, vec![location]).unwrap();
        let tensor = tensors.tensor("a").unwrap();
        let source = tensors.source(&tensor).unwrap();
        assert_eq!(&source.tensor().unwrap().data[..], [5, 6, 7, 8]);
        let copy = StoredTensor {
            data: Cow::Owned(vec![5, 6, 7, 8]),
            ..tensor
        };
        assert!(tensors.source(&copy).is_none());
        // Another file of that name does no harm: the old one is mapped.
        std::fs::write(folder.path().join("new"), [0; 8]).unwrap();
        let old = File::options().write(true).open(&path).unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        source.check().unwrap();
        old.set_modified(SystemTime::now() + Duration::from_secs(9))
            .unwrap();
        let message = source.check().unwrap_err().to_string();
        assert!(message.contains("load the model again"), "{message}");
        assert!(source.tensor().is_err());
    }
}
