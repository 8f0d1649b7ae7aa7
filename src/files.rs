//! Files that appear whole or not at all: the one atomic write and the one lock for every file that this crate writes.
//!
//! A file is written under a temporary name in the same folder and renamed once it is complete, so a reader finds the
//! old content or the new one. The name is random: two writers never share a temporary file. [`lock`] keeps other
//! processes from doing the same work at the same time, and [`read_json`] reads a file that a model may lack.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everyone whom the user's umask admits.
    Shared,
    /// The user alone, where the system knows such permissions.
    Private,
}

/// A JSON file of a model; null if there is no file.
pub(crate) fn read_json(file: &Path) -> Result<serde_json::Value> {
    if !file.is_file() {
        return Ok(serde_json::Value::Null);
    }
    let bytes = std::fs::read(file).map_err(|source| Error::io(file, source))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::corrupt(file, error.to_string()))
}

/// Writes a file in a folder that exists, and syncs it to the disk.
///
/// A symbolic link stays: the file that it names is replaced. Devices and pipes are written to as they are.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>, access: Access) -> Result<()> {
    try_write(path, content.as_ref(), access).map_err(|error| write_error(path, error))
}

/// Fails as [`write`] would fail now, so that the work that fills the file is not done for nothing. Writes nothing.
#[cfg(feature = "cli")]
pub(crate) fn check_writable(path: &Path) -> Result<()> {
    let check = || match path.metadata() {
        Ok(existing) if existing.is_dir() => Err(io::Error::from(ErrorKind::IsADirectory)),
        Ok(existing) if !existing.is_file() => Ok(()),
        _ => temporary_beside(path, Access::Private).map(drop),
    };
    check().map_err(|error| write_error(path, error))
}

fn try_write(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    if path.metadata().is_ok_and(|existing| !existing.is_file()) {
        return std::fs::write(path, content);
    }
    let mut file = temporary_beside(path, access)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(target_of(path))?;
    Ok(())
}

/// The file that a path names, through links.
fn target_of(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A temporary file in the folder of the file that a path names.
fn temporary_beside(path: &Path, access: Access) -> io::Result<NamedTempFile> {
    let target = target_of(path);
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Its error, unlike that of the temporary file, has no random name.
    folder.metadata()?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".specdec-");
    #[cfg(unix)]
    if access == Access::Shared {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    #[cfg(not(unix))]
    let _ = access;
    builder.tempfile_in(folder)
}

/// Makes the folder, with those above it.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| write_error(folder, error))
}

/// Gives a complete file its name.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|error| write_error(to, error))
}

/// Removes a file that is of no use. A failure is only logged.
pub(crate) fn remove(file: &Path) {
    if let Err(error) = std::fs::remove_file(file)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::debug!("{} cannot be removed: {error}", file.display());
    }
}

/// An exclusive lock among processes; dropping it releases the lock.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct Lock {
    _file: File,
}

/// Waits for the lock that this path stands for.
///
/// A file system without locks grants it at once: renaming still keeps every file whole.
pub(crate) fn lock(path: &Path) -> Result<Lock> {
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
            tracing::info!("waiting for another process to release {}", path.display());
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    if let Err(error) = locked {
        tracing::debug!("{} cannot be locked: {error}", path.display());
    }
    Ok(Lock { _file: file })
}

/// The error of a write that failed; of a full disk, with what to do about it.
pub(crate) fn write_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Error::OutOfMemory {
                reason: format!(
                    "the disk has no room for {} ({error}); free some, or choose a folder on another disk (HF_HOME for models, SPECDEC_PROFILES for profiles)",
                    path.display()
                ),
            }
        }
        _ => Error::io(path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        for content in ["old", "new"] {
            write(&file, content, Access::Shared).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
        }
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_failed_write_leaves_the_folder_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(folder.path(), "x", Access::Shared).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        let missing = folder.path().join("missing/file");
        let error = write(&missing, "x", Access::Shared).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_known_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("file")).unwrap();
        assert!(names(folder.path()).is_empty());
        for wrong in [folder.path().join("missing/file"), folder.path().to_owned()] {
            let error = check_writable(&wrong).unwrap_err().to_string();
            assert!(error.contains(&wrong.display().to_string()), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_permissions_are_the_callers() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        write(&file, "old", Access::Private).unwrap();
        let mode = || file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::os::unix::fs::symlink("file", &link).unwrap();
        write(&link, "new", Access::Shared).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        // As any other new file of this process.
        let other = folder.path().join("other");
        std::fs::write(&other, "").unwrap();
        assert_eq!(
            mode(),
            other.metadata().unwrap().permissions().mode() & 0o777
        );
    }

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks/lock");
        let held = lock(&path).unwrap();
        let other = File::options().write(true).open(&path).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(held);
        other.try_lock().unwrap();
    }

    #[test]
    fn a_full_disk_is_reported_with_a_remedy() {
        let error = write_error(Path::new("f"), ErrorKind::StorageFull.into());
        assert!(matches!(error, Error::OutOfMemory { .. }));
        assert!(error.to_string().contains("HF_HOME"), "{error}");
        let error = write_error(Path::new("f"), ErrorKind::PermissionDenied.into());
        assert!(matches!(error, Error::Io { .. }));
    }
}
