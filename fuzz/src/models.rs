//! Tiny models of the repository's tests, beside which an input's files lie.

use std::path::{Path, PathBuf};

/// One of the trained pair: "target" or "draft".
pub fn pair(name: &str) -> PathBuf {
    data().join("pair").join(name)
}

/// The model of an architecture by its folder's name, among the repository's own and, where `SPECDEC_SHARED` is set, those
/// there.
pub fn model(name: &[u8]) -> Option<PathBuf> {
    let name = std::str::from_utf8(name).ok()?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_name) {
        return None;
    }
    let shared = std::env::var_os("SPECDEC_SHARED").map(PathBuf::from);
    let shared = shared.map(|folder| folder.join("fixtures/2026/hf"));
    let mut places = [Some(data().join("hf")), shared].into_iter().flatten();
    places.find_map(|place| {
        let folder = place.join(name);
        folder.is_dir().then_some(folder)
    })
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data")
}
