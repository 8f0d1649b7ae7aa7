//! Checksums of files, and a record of verified files, so that they are not hashed at every load.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use crate::error::{Error, Result};
use crate::files::{self, Access, Small};

/// Whether the text is a SHA-256 in lower-case hexadecimal, as the hub names large files.
pub(super) fn is_sha256(text: &str) -> bool {
    Checksum::of_name(text) == Some(Checksum::Sha256)
}

/// A checksum in lower-case hexadecimal.
pub(super) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// How the hub names a content: a large file by its SHA-256, a small one as git does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    /// 64 hexadecimal digits.
    Sha256,
    /// 40 hexadecimal digits: the SHA-1 of git's object, which is the content after its kind and length
    /// (<https://git-scm.com/book/en/v2/Git-Internals-Git-Objects>); from some mirrors, of the content alone.
    Sha1,
}

impl Checksum {
    /// What kind a name is of; `None` for other names.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let is_hexadecimal = name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match name.len() {
            64 if is_hexadecimal => Some(Self::Sha256),
            40 if is_hexadecimal => Some(Self::Sha1),
            _ => None,
        }
    }

    /// The names of this kind that a file's content may have.
    pub(super) fn of_file(self, file: &Path) -> Result<Vec<String>> {
        let failed = |error| Error::io(file, error);
        let mut reader = File::open(file).map_err(failed)?;
        let mut hashes = match self {
            Self::Sha256 => vec![Context::new(&SHA256)],
            Self::Sha1 => {
                let content = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                let mut object = content.clone();
                let length = reader.metadata().map_err(failed)?.len();
                object.update(format!("blob {length}\0").as_bytes());
                vec![object, content]
            }
        };
        let mut buffer = vec![0; 1 << 20];
        loop {
            match reader.read(&mut buffer).map_err(failed)? {
                0 => break,
                count => hashes
                    .iter_mut()
                    .for_each(|hash| hash.update(&buffer[..count])),
            }
        }
        let hashes = hashes.into_iter();
        let names = hashes.map(|hash| hexadecimal(hash.finish().as_ref()));
        Ok(names.collect())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha1 => "git object id",
        })
    }
}

/// The record: a folder with a small file per checksum, which contains the size and date of the verified file.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    folder: PathBuf,
}

impl Verified {
    pub fn new(own_cache: &Path) -> Self {
        Self {
            folder: own_cache.join("verified"),
        }
    }

    /// Whether the file's content has that checksum; it is hashed only if the file's size or date changed since the last time.
    pub fn is_valid(&self, file: &Path, checksum: &str) -> Result<bool> {
        let seen = size_and_date(file)?;
        let record = files::read_text(&self.folder.join(checksum), Small::Settings);
        if record.is_ok_and(|known| known == seen) {
            return Ok(true);
        }
        // Other names say nothing of the content.
        let Some(kind) = Checksum::of_name(checksum) else {
            return Ok(true);
        };
        let valid = kind.of_file(file)?.iter().any(|name| name == checksum);
        if valid {
            self.record(file, checksum);
        }
        Ok(valid)
    }

    /// Records that the file, as it is now, is valid.
    pub fn record(&self, file: &Path, checksum: &str) {
        let record = || {
            files::create_folder(&self.folder)?;
            let record = self.folder.join(checksum);
            files::write(&record, size_and_date(file)?, Access::Shared)
        };
        if let Err(error) = record() {
            // Without the record, the file is merely hashed again at the next load.
            tracing::debug!("not recorded as verified: {error}");
        }
    }
}

/// Metadata that changes with a file's content.
fn size_and_date(file: &Path) -> Result<String> {
    let metadata = std::fs::metadata(file).map_err(|error| Error::io(file, error))?;
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_nanos());
    Ok(format!("{} bytes, modified {modified}\n", metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum of "abc", from FIPS 180-2.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_changed_file_is_hashed_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let verified = Verified::new(folder.path());
        std::fs::write(&file, "abc").unwrap();
        assert!(verified.is_valid(&file, ABC).unwrap());
        std::fs::write(&file, "abcd").unwrap();
        assert!(!verified.is_valid(&file, ABC).unwrap());
    }

    #[test]
    fn an_unchanged_file_is_not_hashed_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let verified = Verified::new(folder.path());
        std::fs::write(&file, "something else").unwrap();
        verified.record(&file, ABC);
        assert!(verified.is_valid(&file, ABC).unwrap());
    }

    #[test]
    fn checksums_differ_from_other_names() {
        assert_eq!(Checksum::of_name(ABC), Some(Checksum::Sha256));
        assert_eq!(Checksum::of_name(&ABC[24..]), Some(Checksum::Sha1));
        for other in [&ABC.to_uppercase(), &ABC[1..], "", "a"] {
            assert_eq!(Checksum::of_name(other), None);
        }
    }

    #[test]
    fn small_files_are_named_as_git_names_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        // As `git hash-object` prints them.
        for (content, name) in [
            ("", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
            ("abc", "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"),
        ] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(Checksum::Sha1.of_file(&file).unwrap()[0], name);
        }
        // As `sha1sum` does.
        let of_content = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert_eq!(Checksum::Sha1.of_file(&file).unwrap()[1], of_content);
    }
}
