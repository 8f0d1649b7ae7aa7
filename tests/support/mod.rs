//! Shared by the integration tests.
#![allow(dead_code)]

pub mod hub;
pub mod pair;

use std::path::{Path, PathBuf};

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
        "skipped: no golden data at {} (set SPECDEC_SHARED)",
        folder.display()
    );
    None
}
