//! Shared by the integration tests.
#![allow(dead_code)]

pub mod hub;
pub mod memoized;
pub mod models;
pub mod pair;
pub mod sources;
pub mod statistics;

use std::path::{Path, PathBuf};

use specdec_rs::hub::{LocateOptions, ModelFiles, locate};
use specdec_rs::progress::Silent;

/// The folder of golden data, which lies beside the repository; `None` (said on stderr) without it.
pub fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("SPECDEC_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    };
    if folder.join("fixtures").is_dir() {
        return Some(folder);
    }
    eprintln!(
        "no golden data at {} (set SPECDEC_SHARED): what needs it is left out",
        folder.display()
    );
    None
}

/// The folder of fixture models (`hf/`, `gguf/`): all of them beside the repository, else the few within it.
pub fn fixtures() -> PathBuf {
    match shared() {
        Some(folder) => folder.join("fixtures"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"),
    }
}

/// A default model's file, pulled into the cache if it is not there; `None` (said on stderr) where that fails.
pub fn real_model(alias: &str) -> Option<PathBuf> {
    let options = LocateOptions {
        revision: None,
        progress: &Silent,
    };
    match locate(alias, &options) {
        Ok(ModelFiles::Gguf(file)) => Some(file),
        Ok(ModelFiles::Folder(folder)) => panic!("{alias} is a folder: {}", folder.display()),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}
