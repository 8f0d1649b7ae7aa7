//! The files of an input.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A temporary folder, which all inputs of a target use.
pub struct Folder(TempDir);

impl Folder {
    /// A folder with copies of a model's files.
    pub fn of(model: &Path) -> Self {
        let folder = Self::default();
        for entry in fs::read_dir(model).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap();
            folder.put(name, &fs::read(&path).unwrap());
        }
        folder
    }

    /// Writes a file, or, if it is empty, removes it.
    pub fn put(&self, name: &str, content: &[u8]) {
        let path = self.file(name);
        // Not written over: an earlier input's file may still be mapped.
        let _ = fs::remove_file(&path);
        if !content.is_empty() {
            fs::write(path, content).unwrap();
        }
    }

    /// The path of a file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}
