//! Files that appear whole or not at all: the one atomic write and the one lock for every file that this crate writes, and the
//! one way to read the small files of a model.
//!
//! A file is written under a temporary name in the same folder and renamed once it is complete, so a reader finds the
//! old content or the new one. The name is random: two writers never share a temporary file. [`lock`] keeps other
//! processes from doing the same work at the same time. [`read`] reads a file whole, as long as its kind is: what strangers
//! put beside their weights must not take all memory.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::json;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everyone whom the user's umask admits.
    Shared,
    /// The user alone, where the system knows such permissions.
    Private,
}

/// The kinds of files that are read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Small {
    /// config.json, `tokenizer_config.json`, templates, profiles: the largest known have a megabyte.
    Settings,
    /// tokenizer.json, vocab.json, merges.txt, the index of weights: the largest known have 40 megabytes.
    Vocabulary,
}

impl Small {
    /// Bytes of the largest file of this kind. (As parsed JSON, it may take 30 times as much memory.)
    pub(crate) const fn max_bytes(self) -> u64 {
        match self {
            Self::Settings => 8 << 20,
            Self::Vocabulary => 64 << 20,
        }
    }
}

/// Opens a file of a model, which is no folder, pipe or device: opening a pipe would wait for its writer.
pub(crate) fn open(file: &Path) -> Result<File> {
    let failed = |source| Error::io(file, source);
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        return Err(Error::corrupt(
            file,
            "expected a regular file, found a pipe or a device",
        ));
    }
    File::open(file).map_err(failed)
}

/// Opens a small file, which has no more bytes than its kind may have.
pub(crate) fn open_small(file: &Path, kind: Small) -> Result<File> {
    let opened = open(file)?;
    let length = opened
        .metadata()
        .map_err(|source| Error::io(file, source))?;
    check_length(file, length.len(), kind)?;
    Ok(opened)
}

fn check_length(file: &Path, length: u64, kind: Small) -> Result<()> {
    let max_bytes = kind.max_bytes();
    if length > max_bytes {
        let reason = format!("it has {length} bytes: expected at most {max_bytes}");
        return Err(Error::corrupt(file, reason));
    }
    Ok(())
}

/// The contents of a small file.
pub(crate) fn read(file: &Path, kind: Small) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // The system's own files have more than they say.
    let mut limited = open_small(file, kind)?.take(kind.max_bytes() + 1);
    let length = limited
        .read_to_end(&mut bytes)
        .map_err(|source| Error::io(file, source))?;
    check_length(file, length as u64, kind)?;
    Ok(bytes)
}

/// The text of a small file.
pub(crate) fn read_text(file: &Path, kind: Small) -> Result<String> {
    let text = String::from_utf8(read(file, kind)?);
    text.map_err(|error| Error::corrupt(file, format!("expected UTF-8 text: {error}")))
}

/// A JSON file that a model may lack, then null.
pub(crate) fn read_json(file: &Path, kind: Small) -> Result<serde_json::Value> {
    match file.try_exists() {
        Ok(false) => Ok(serde_json::Value::Null),
        _ => json::parse(file, &read(file, kind)?),
    }
}

/// Writes a file in a folder that exists, and syncs it to the disk.
///
/// A symbolic link stays: the file that it names is replaced. A file of the user's own keeps its permissions. Devices and pipes are
/// written to as they are.
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
    let target = target_of(path);
    file.write_all(content)?;
    #[cfg(unix)]
    keep_permissions(&target, file.as_file())?;
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

/// Gives a file the permissions of the one that it will replace, if the same user owns both: another's may be a trap.
#[cfg(unix)]
fn keep_permissions(replaced: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    match replaced.symlink_metadata() {
        Ok(replaced) if replaced.is_file() && replaced.uid() == file.metadata()?.uid() => {
            let mode = replaced.permissions().mode() & 0o777;
            file.set_permissions(std::fs::Permissions::from_mode(mode))
        }
        _ => Ok(()),
    }
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
    let file = lock_file(path)?;
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

/// The lock that this path stands for; `None` if another process holds it, or the file system has none.
pub(crate) fn try_lock(path: &Path) -> Result<Option<Lock>> {
    let file = lock_file(path)?;
    Ok(file.try_lock().ok().map(|()| Lock { _file: file }))
}

fn lock_file(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    // To open a pipe would wait for its other end.
    if path.metadata().is_ok_and(|existing| !existing.is_file()) {
        return Err(Error::invalid(
            "lock file",
            path.display(),
            "a regular file: remove what lies there",
        ));
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| write_error(path, error))
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
    fn only_small_regular_files_are_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let read = || read_json(&file, Small::Settings);
        assert!(read().unwrap().is_null());
        std::fs::write(&file, "[1]").unwrap();
        assert_eq!(read().unwrap()[0], 1);
        // Sparse: it takes no room on the disk.
        let long = File::create(&file).unwrap();
        long.set_len(Small::Settings.max_bytes() + 1).unwrap();
        let refused = read().unwrap_err().to_string();
        let bytes = "config.json: it has 8388609 bytes: expected at most 8388608";
        assert!(refused.contains(bytes), "{refused}");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        let refused = read().unwrap_err();
        assert!(matches!(refused, Error::Io { .. }), "{refused}");
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for file in [&pipe, Path::new("/dev/zero")] {
            let refused = read(file, Small::Settings).unwrap_err().to_string();
            assert!(refused.contains("a pipe or a device"), "{refused}");
        }
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

    #[cfg(feature = "cli")]
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
    fn links_are_followed_and_permissions_are_kept() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        let mode = |file: &Path| file.metadata().unwrap().permissions().mode() & 0o777;
        write(&file, "old", Access::Private).unwrap();
        assert_eq!(mode(&file), 0o600);
        std::os::unix::fs::symlink("file", &link).unwrap();
        write(&link, "new", Access::Shared).unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(mode(&file), 0o600);
        // A new one is as any other new file of this process.
        let (shared, other) = (folder.path().join("shared"), folder.path().join("other"));
        write(&shared, "new", Access::Shared).unwrap();
        std::fs::write(&other, "").unwrap();
        assert_eq!(mode(&shared), mode(&other));
        // A link that leads nowhere is replaced, and nothing is made where it leads.
        let (lost, dangling) = (folder.path().join("lost"), folder.path().join("dangling"));
        std::os::unix::fs::symlink("lost", &dangling).unwrap();
        write(&dangling, "new", Access::Shared).unwrap();
        assert!(dangling.symlink_metadata().unwrap().is_file() && !lost.exists());
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

    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for special in [folder.path(), Path::new("/dev/null")] {
            let error = lock(special).map(drop).unwrap_err().to_string();
            assert!(error.contains("a regular file"), "{error}");
        }
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
