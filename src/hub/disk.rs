//! Files that appear whole or not at all, and what it means when the disk refuses.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// Why a write failed, told so that the user can do something about it.
pub(super) fn write_error(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Error::OutOfMemory {
                reason: format!(
                    "the disk has no room for {} ({error}); free some, or set HF_HOME to a folder on another disk",
                    path.display()
                ),
            }
        }
        _ => Error::io(path, error),
    }
}

/// Makes the folder, with those above it.
pub(super) fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| write_error(folder, error))
}

/// Gives a finished file its name.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|error| write_error(to, error))
}

/// A name that no other thread, process or machine gives to a file it is about to rename.
pub(super) fn unique() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::thread::current().id());
    format!("{}-{random:016x}", std::process::id())
}

/// Writes a small file, so that whoever reads it meanwhile finds the old content or the new.
pub(super) fn write(file: &Path, content: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        create_folder(folder)?;
    }
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(format!(".{}", unique()));
    let fresh = PathBuf::from(fresh);
    std::fs::write(&fresh, content).map_err(|error| write_error(&fresh, error))?;
    rename(&fresh, file)
}

/// Removes a file that is of no use; that it is gone already, or cannot go, changes nothing.
pub(super) fn remove(file: &Path) {
    if let Err(error) = std::fs::remove_file(file)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::debug!("{} is left behind: {error}", file.display());
    }
}

/// Waits until this process alone may write what `path` stands for; the lock ends with the returned file.
///
/// A file system without locks gives none: the renames still keep every file whole.
pub(super) fn lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| write_error(path, error))?;
    let locked = match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            tracing::info!("waiting for another process that downloads the same file");
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    if let Err(error) = locked {
        tracing::debug!("{} cannot be locked: {error}", path.display());
    }
    Ok(file)
}

/// Whether a name from elsewhere stays inside the folder that it is joined to, on every system.
pub(super) fn stays_inside(name: &str) -> bool {
    let plain = |component| matches!(component, Component::Normal(_));
    !name.is_empty()
        && !name.contains(['\\', ':', '\0'])
        && !name.split('/').any(str::is_empty)
        && Path::new(name).components().all(plain)
        // `components` drops the dots in "a/./b".
        && name.split('/').all(|part| part != ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_do_not_stay_inside() {
        for name in ["a", "a/b.safetensors", "..a", "a..b/c", ".hidden", "ü"] {
            assert!(stays_inside(name), "{name:?}");
        }
        for name in [
            "", ".", "..", "/a", "a/", "a//b", "a/../b", "../a", "./a", "a/./b", "C:\\a", "C:a",
            "a\\..\\b", "a\0b",
        ] {
            assert!(!stays_inside(name), "{name:?}");
        }
    }

    #[test]
    fn a_full_disk_is_told_with_a_way_out() {
        let error = write_error(Path::new("f"), ErrorKind::StorageFull.into());
        assert!(matches!(error, Error::OutOfMemory { .. }));
        assert!(error.to_string().contains("HF_HOME"), "{error}");
        let error = write_error(Path::new("f"), ErrorKind::PermissionDenied.into());
        assert!(matches!(error, Error::Io { .. }));
    }
}
