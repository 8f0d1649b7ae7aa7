//! Heads that lie in a model's files or beside them.

use std::path::{Path, PathBuf};

use super::HeadFiles;
use crate::architecture::ModelSpec;
use crate::error::Result;
use crate::hub::{HEADS, ModelFiles};

/// A file or folder beside a model that is named as a head.
pub struct Beside {
    /// Where it lies.
    pub path: PathBuf,
    /// The head, or why it can't be used with this model.
    pub head: Result<HeadFiles>,
}

/// What lies beside a model's file, or in its folder, and is named as a head: in the order of their kinds, and of each kind first
/// what shares most of its name with the model. Each is opened when it is asked for.
pub fn heads_beside(source: &Path, target: &ModelSpec) -> impl Iterator<Item = Beside> {
    let folder = match source.is_dir() {
        true => Some(source),
        false => source.parent(),
    };
    let here = |folder: &Path| folder.as_os_str().is_empty();
    let folder = folder.map(|folder| if here(folder) { Path::new(".") } else { folder });
    let model = name_of(source);
    let entries = folder.and_then(|folder| std::fs::read_dir(folder).ok());
    let paths = entries.into_iter().flatten().flatten();
    let named = paths.filter_map(|entry| {
        let path = entry.path();
        let name = name_of(&path);
        let kind = HEADS.iter().position(|start| name.starts_with(start))?;
        let rest = &name[HEADS[kind].len()..];
        let shared = rest.bytes().zip(model.bytes()).take_while(|(a, b)| a == b);
        Some((kind, usize::MAX - shared.count(), path))
    });
    let mut named: Vec<_> = named.collect();
    named.sort();
    named.into_iter().filter_map(move |(_, _, path)| {
        let files = match path.is_dir() {
            true if !path.join("config.json").is_file() => return None,
            true => ModelFiles::Folder(path.clone()),
            false if path.extension().is_some_and(|end| end == "gguf") => {
                ModelFiles::Gguf(path.clone())
            }
            false => return None,
        };
        let head = match path == source {
            true => return None,
            false => HeadFiles::open(&files).transpose()?,
        };
        let head = head.and_then(|head| head.check(target).map(|()| head));
        Some(Beside { path, head })
    })
}

/// The last part of a path, in lower case.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.to_ascii_lowercase()
}
