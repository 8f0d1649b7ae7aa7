//! A file from the hub to the disk: resumed after a cut, whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use super::checksum;
use super::disk;
use super::http::{Client, Failure, Fetched};
use crate::progress::Progress;

/// Waits before each new attempt that follows one which brought next to nothing.
const RETRY_DELAYS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(600),
    Duration::from_millis(1800),
    Duration::from_millis(5400),
];
/// What an attempt must bring for the patience to start anew.
const WORTHWHILE: u64 = 1 << 20;
/// Only small text files come without a size; more than this is not read from a server that names none.
const MAX_UNSIZED: u64 = 64 << 20;

/// What to download, and what is known of it beforehand.
pub(super) struct Download<'a> {
    pub client: &'a Client,
    pub url: &'a str,
    /// What the user is told is being downloaded.
    pub label: &'a str,
    /// In bytes, where known.
    pub size: Option<u64>,
    /// Where known.
    pub sha256: Option<&'a str>,
    pub progress: &'a dyn Progress,
}

impl Download<'_> {
    /// Fills `partial`, going on with what an earlier attempt left there, until the file is whole and as announced.
    pub fn fill(&self, partial: &Path) -> Fetched<()> {
        self.progress.begin(self.label, self.size);
        let outcome = self.fill_and_check(partial);
        self.progress.end();
        outcome
    }

    fn fill_and_check(&self, partial: &Path) -> Fetched<()> {
        let resumed = std::fs::metadata(partial).is_ok_and(|left| left.len() > 0);
        self.receive(partial)?;
        match self.check(partial) {
            // What an earlier attempt left may have been bad: the file deserves one from the start.
            Err(Failure::Unexpected(_)) if resumed => {
                self.receive(partial)?;
                self.check(partial)
            }
            outcome => outcome,
        }
    }

    fn receive(&self, partial: &Path) -> Fetched<()> {
        let failed = |error| disk::write_error(partial, error);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(partial)
            .map_err(failed)?;
        let mut length = file.metadata().map_err(failed)?.len();
        if self.size.is_none_or(|size| length > size) {
            file.set_len(0).map_err(failed)?;
            length = 0;
        }
        self.progress.advance(length);

        let mut delays = RETRY_DELAYS.iter();
        while length == 0 || Some(length) != self.size {
            let before = length;
            match self.attempt(&mut file, partial, &mut length) {
                Ok(()) => break,
                // A hub that answered a while ago may soon do so again.
                Err(failure @ Failure::Unreachable(_)) if length == 0 => return Err(failure),
                Err(failure @ (Failure::Unavailable(_) | Failure::Unreachable(_))) => {
                    tracing::debug!("{} goes on from byte {length}: {failure}", self.label);
                    if length >= before.saturating_add(WORTHWHILE) {
                        delays = RETRY_DELAYS.iter();
                    }
                    let Some(delay) = delays.next() else {
                        return Err(failure);
                    };
                    std::thread::sleep(*delay);
                }
                Err(failure) => return Err(failure),
            }
        }
        file.sync_all().map_err(failed)?;
        Ok(())
    }

    /// Appends what one request brings; `length` follows the file's.
    fn attempt(&self, file: &mut File, partial: &Path, length: &mut u64) -> Fetched<()> {
        let mut stream = self.client.stream(self.url, *length)?;
        if let (Some(size), Some(total)) = (self.size, stream.total)
            && size != total
        {
            return Err(Failure::Unexpected(format!(
                "{} has {total} bytes where {size} were announced",
                self.label
            )));
        }
        if stream.start != *length {
            if stream.start != 0 {
                return Err(Failure::Unexpected(format!(
                    "{} comes from byte {} instead of {length}",
                    self.label, stream.start
                )));
            }
            // The server knows no ranges: all over again.
            file.set_len(0)
                .and_then(|()| file.seek(SeekFrom::Start(0)))
                .map_err(|error| disk::write_error(partial, error))?;
            *length = 0;
        }
        let end = self.size.or(stream.total);
        let most = end.unwrap_or(MAX_UNSIZED);
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = match stream.reader.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Unavailable(error.to_string())),
            };
            if count == 0 {
                return match end {
                    Some(end) if *length < end => Err(Failure::Unavailable(format!(
                        "the connection ended at byte {length} of {end}"
                    ))),
                    _ => Ok(()),
                };
            }
            if *length + count as u64 > most {
                return Err(Failure::Unexpected(format!(
                    "{} goes on past its {most} bytes",
                    self.label
                )));
            }
            file.write_all(&buffer[..count])
                .map_err(|error| disk::write_error(partial, error))?;
            *length += count as u64;
            self.progress.advance(count as u64);
        }
    }

    fn check(&self, partial: &Path) -> Fetched<()> {
        let Some(expected) = self.sha256 else {
            return Ok(());
        };
        let found = checksum::sha256(partial)?;
        if found == expected {
            return Ok(());
        }
        disk::remove(partial);
        Err(Failure::Unexpected(format!(
            "{} has the SHA-256 {found}, not {expected}",
            self.label
        )))
    }
}
