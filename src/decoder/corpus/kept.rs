//! The indexes of corpora that lie in our cache, each beside a note of the folder that it was made of.

use std::path::{Path, PathBuf};
#[cfg(feature = "cli")]
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
#[cfg(feature = "cli")]
use crate::files::Small;
use crate::files::{self, Access};
use crate::hub;

/// An index that is kept.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KeptCorpus {
    /// The name of its file.
    pub id: String,
    /// The folder of the texts; empty if the note of it is lost.
    pub folder: PathBuf,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When it was made.
    #[serde(skip)]
    pub made: SystemTime,
}

/// The note of what an index was made of.
#[derive(Serialize, Deserialize)]
pub(super) struct About {
    folder: PathBuf,
}

impl About {
    /// Writes the note beside an index of a folder.
    pub(super) fn write(index: &Path, folder: &Path) -> Result<()> {
        let about = Self {
            folder: folder.to_owned(),
        };
        let file = note(index);
        let text = serde_json::to_string(&about).map_err(|error| Error::io(&file, error.into()))?;
        files::write(&file, text, Access::Shared)
    }

    #[cfg(feature = "cli")]
    fn read(index: &Path) -> Option<Self> {
        let text = files::read_text(&note(index), Small::Settings).ok()?;
        serde_json::from_str(&text).ok()
    }
}

fn folder() -> PathBuf {
    hub::own_cache().join("corpora")
}

/// The file of an index.
pub(super) fn index(id: &str) -> PathBuf {
    folder().join(id).with_extension("index")
}

fn note(index: &Path) -> PathBuf {
    index.with_extension("json")
}

/// All indexes that are kept, the newest first.
#[cfg(feature = "cli")]
pub(crate) fn list() -> Vec<KeptCorpus> {
    let entries = folder().read_dir().into_iter().flatten().flatten();
    let kept = entries.filter_map(|entry| {
        let path = entry.path();
        let is_index = path.extension().is_some_and(|end| end == "index");
        let metadata = entry.metadata().ok().filter(|_| is_index)?;
        Some(KeptCorpus {
            id: path.file_stem()?.to_str()?.to_owned(),
            folder: About::read(&path).map_or_else(PathBuf::new, |about| about.folder),
            bytes: metadata.len(),
            made: metadata.modified().ok()?,
        })
    });
    let mut kept: Vec<_> = kept.collect();
    kept.sort_by_key(|corpus| std::cmp::Reverse(corpus.made));
    kept
}

/// Removes an index. Processes that use it go on.
#[cfg(feature = "cli")]
pub(crate) fn remove(corpus: &KeptCorpus) -> Result<()> {
    let file = index(&corpus.id);
    std::fs::remove_file(&file).map_err(|error| Error::io(&file, error))?;
    files::remove(&note(&file));
    Ok(())
}
