//! Opening files in a folder to which anyone may have put pipes, devices and links.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Opens a regular file for reading; to open a pipe would wait for its other end.
pub(super) fn open(path: &Path) -> io::Result<File> {
    check(path)?;
    File::open(path)
}

/// Opens a regular file for writing, or makes it.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    match check(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            OpenOptions::new().create_new(true).write(true).open(path)
        }
        checked => checked.and_then(|()| OpenOptions::new().write(true).open(path)),
    }
}

fn check(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{} is no regular file",
            path.display()
        ))),
    }
}
