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

/// The folder that `SPECDEC_SHARED` names: golden data of more models than the repository holds. Tests that need it are
/// `#[ignore = "needs SPECDEC_SHARED"]`.
pub fn shared() -> PathBuf {
    let folder = std::env::var_os("SPECDEC_SHARED").expect("SPECDEC_SHARED names no folder");
    let folder = PathBuf::from(folder);
    let fixtures = folder.join("fixtures");
    assert!(
        fixtures.is_dir(),
        "no golden data at {}",
        fixtures.display()
    );
    folder
}

/// The repository's folder, whichever of its packages the tests are in.
pub fn repository() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let root = folders.find(|folder| folder.join("tests/data").is_dir());
    root.expect("tests run in a clone of the repository")
}

/// The repository's own fixture models (`hf/`, `gguf/`).
pub fn fixtures() -> PathBuf {
    repository().join("tests/data")
}

/// A default model's file, pulled into the cache if it is not there. Tests that need it are
/// `#[ignore = "needs the default models"]`.
pub fn real_model(alias: &str) -> PathBuf {
    let options = LocateOptions {
        with_head: false,
        revision: None,
        progress: &Silent,
    };
    match locate(alias, &options).unwrap() {
        ModelFiles::Gguf(file) => file,
        ModelFiles::Folder(_) | ModelFiles::Adapted(_) => panic!("{alias} is no GGUF file"),
    }
}
