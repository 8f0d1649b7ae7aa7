//! SHA-256 of files, and a record of verified files, so that they are not hashed at every load.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::files::{self, Access};

/// Whether the text is a SHA-256 in lower-case hexadecimal, as the hub names large files.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A checksum in lower-case hexadecimal.
pub(super) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The SHA-256 of a file's content.
pub(super) fn sha256(file: &Path) -> Result<String> {
    let failed = |error| Error::io(file, error);
    let mut reader = File::open(file).map_err(failed)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match reader.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
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
        if std::fs::read_to_string(self.folder.join(checksum)).is_ok_and(|known| known == seen) {
            return Ok(true);
        }
        let valid = sha256(file)? == checksum;
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
        assert!(is_sha256(ABC));
        assert!(!is_sha256(&ABC.to_uppercase()));
        assert!(!is_sha256(&ABC[1..]));
    }
}
