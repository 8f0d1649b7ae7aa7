//! Profiles: the fastest draft settings that `specdec tune` found for a target. The other commands use them.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::log;
use crate::error::{Error, Result};
use crate::files::{self, Access, Small};
use crate::hash::fnv;
use crate::settings::{DraftKind, SpeculativeConfig};

/// The draft settings that a command uses if its options name none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// The draft model: a name or an absolute path.
    pub(super) model: Option<String>,
    /// The draft source.
    pub(super) draft: DraftKind,
    /// The most tokens drafted per step.
    pub(super) gamma: usize,
    /// An n-gram table of the target's own texts.
    pub(super) table: Option<PathBuf>,
    /// The measured speedup.
    pub(super) speedup: f64,
}

impl Profile {
    /// Loads the profile of a target, if there is one.
    pub(super) fn load(target: &str) -> Result<Option<Self>> {
        let Some(path) = path(target) else {
            return Ok(None);
        };
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(&path, Small::Settings)?;
        let profile = serde_json::from_str(&text).map_err(|error| {
            let reason = format!(
                "not a valid profile ({error}): remove it with `specdec tune --reset`, or pass --no-profile"
            );
            Error::io(
                &path,
                std::io::Error::new(std::io::ErrorKind::InvalidData, reason),
            )
        })?;
        Ok(Some(profile))
    }

    /// Says on stderr, unless quiet, that a command uses this profile of `target`, and what of it applies under `config`.
    pub(super) fn announce(&self, target: &str, config: &SpeculativeConfig) {
        if log::is_quiet() {
            return;
        }
        let uses = Self {
            draft: config.draft.unwrap_or(DraftKind::AUTO),
            gamma: config.gamma,
            ..self.clone()
        };
        let _ = writeln!(
            io::stderr(),
            "using the profile of {target}: {uses} (--no-profile ignores it)"
        );
    }

    /// Writes the profile to a target's [`file`].
    pub(super) fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::io(file, std::io::Error::other(error)))?;
        files::write(file, text + "\n", Access::Shared)
    }
}

/// What a command drafts from.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "draft {}", self.draft)?;
        if let Some(model) = &self.model {
            write!(f, " with {model}")?;
        }
        if let Some(table) = &self.table {
            write!(f, " with the table {}", table.display())?;
        }
        match self.draft {
            DraftKind::NONE => Ok(()),
            _ => write!(f, ", gamma {}", self.gamma),
        }
    }
}

/// The path of a target's profile; `None` without a folder for profiles.
pub(super) fn path(target: &str) -> Option<PathBuf> {
    path_of(target, "json")
}

/// Removes a target's profile and its n-gram table; returns the files that there were.
pub(super) fn remove(target: &str) -> Result<Vec<PathBuf>> {
    let files = ["json", "table"].into_iter();
    let mut removed = Vec::new();
    for file in files.filter_map(|extension| path_of(target, extension)) {
        match std::fs::remove_file(&file) {
            Ok(()) => removed.push(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(file, error)),
        }
    }
    Ok(removed)
}

/// The path that a target's profile is written to.
pub(super) fn file(target: &str) -> Result<PathBuf> {
    path_in_folder(target, "json")
}

/// A model's name, valid from any working directory.
pub(super) fn absolute(model: &str) -> String {
    std::fs::canonicalize(model)
        .map_or_else(|_| model.to_owned(), |path| path.display().to_string())
}

/// The path of a target's n-gram table.
pub(super) fn table(target: &str) -> Result<PathBuf> {
    path_in_folder(target, "table")
}

/// The folder of the head that `specdec distill` makes for a target.
pub(super) fn head(target: &str) -> Result<PathBuf> {
    path_in_folder(target, "head")
}

/// A target's file; creates its folder.
fn path_in_folder(target: &str, extension: &str) -> Result<PathBuf> {
    let path = path_of(target, extension).ok_or_else(|| {
        let expected = "a folder for profiles, as neither XDG_CACHE_HOME nor HOME is set";
        Error::invalid("SPECDEC_PROFILES", "(unset)", expected)
    })?;
    if let Some(folder) = path.parent() {
        files::create_folder(folder)?;
    }
    Ok(path)
}

/// The program's folder in the user's cache folder.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let home = || set("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    Some(cache.join("specdec"))
}

/// An environment variable that is set, and not to nothing.
fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The folder of profiles: SPECDEC_PROFILES, or one in the user's cache folder.
pub(super) fn folder() -> Option<PathBuf> {
    match set("SPECDEC_PROFILES") {
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(cache_folder()?.join("profiles")),
    }
}

/// A target's file.
fn path_of(target: &str, extension: &str) -> Option<PathBuf> {
    let folder = folder()?;
    // Two names of the same folder are the same target.
    let target = absolute(target);
    let safe = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    let last = target.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|letter| safe(*letter)).collect();
    let hash = fnv(target.bytes());
    Some(folder.join(format!("{name}-{hash:016x}.{extension}")))
}
