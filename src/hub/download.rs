//! Downloads a file from the hub: resumes after a broken connection, and checks size, checksum and time.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::checksum::Checksum;
use super::error::{FetchError, FetchResult};
use super::http::Client;
use crate::files;
use crate::progress::Progress;

/// Pauses before the attempts that follow an attempt without [`MIN_PROGRESS`].
const RETRY_DELAYS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(600),
    Duration::from_millis(1800),
    Duration::from_millis(5400),
];
/// Bytes that an attempt must receive for the pauses to start over.
const MIN_PROGRESS: u64 = 1 << 20;
/// The limit if the server names no size: only small text files come without one.
const MAX_UNSIZED_BYTES: u64 = 64 << 20;

/// A file to download, and what is known about it.
pub(super) struct Download<'a> {
    pub client: &'a Client,
    pub url: &'a str,
    /// Shown to the user.
    pub label: &'a str,
    /// In bytes, if known.
    pub size: Option<u64>,
    /// What the hub names the content; a checksum, if it looks like one.
    pub name: &'a str,
    /// The most time that it may take, if there is such a limit.
    pub time: Option<Duration>,
    pub progress: &'a dyn Progress,
}

impl Download<'_> {
    /// Completes `partial`, from where an earlier attempt stopped, and checks it.
    pub fn complete(&self, partial: &Path) -> FetchResult<()> {
        self.progress.begin(self.label, self.size);
        let outcome = self.receive_and_check(partial);
        self.progress.end();
        outcome
    }

    fn receive_and_check(&self, partial: &Path) -> FetchResult<()> {
        let resumed = std::fs::metadata(partial).is_ok_and(|left| left.len() > 0);
        self.receive(partial)?;
        match self.check(partial) {
            // The earlier attempt's bytes may have been wrong: download all of them once.
            Err(FetchError::Invalid(_)) if resumed => {
                self.receive(partial)?;
                self.check(partial)
            }
            outcome => outcome,
        }
    }

    fn receive(&self, partial: &Path) -> FetchResult<()> {
        let failed = |error| files::write_error(partial, error);
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

        let deadline = self.time.map(|time| Instant::now() + time);
        let mut delays = RETRY_DELAYS.iter();
        while length == 0 || Some(length) != self.size {
            let before = length;
            match self.attempt(&mut file, partial, &mut length, deadline) {
                Ok(()) => break,
                Err(failure @ FetchError::Unreachable(_)) if length == 0 => return Err(failure),
                // A hub that answered before is likely to answer again.
                Err(failure @ (FetchError::Unavailable(_) | FetchError::Unreachable(_))) => {
                    tracing::debug!("{} resumes at byte {length}: {failure}", self.label);
                    if length >= before.saturating_add(MIN_PROGRESS) {
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

    /// Appends the response to one request; `length` is updated to the file's length.
    fn attempt(
        &self,
        file: &mut File,
        partial: &Path,
        length: &mut u64,
        deadline: Option<Instant>,
    ) -> FetchResult<()> {
        let mut stream = self.client.stream(self.url, *length)?;
        if let (Some(size), Some(total)) = (self.size, stream.total)
            && size != total
        {
            return Err(FetchError::Invalid(format!(
                "{} has {total} bytes, not the announced {size}",
                self.label
            )));
        }
        if stream.start != *length {
            if stream.start != 0 {
                return Err(FetchError::Invalid(format!(
                    "{} starts at byte {} instead of {length}",
                    self.label, stream.start
                )));
            }
            // The server has no ranges and sends the whole file again.
            file.set_len(0)
                .and_then(|()| file.seek(SeekFrom::Start(0)))
                .map_err(|error| files::write_error(partial, error))?;
            *length = 0;
        }
        let end = self.size.or(stream.total);
        let max_bytes = end.unwrap_or(MAX_UNSIZED_BYTES);
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = match stream.reader.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(FetchError::Unavailable(error.to_string())),
            };
            if count == 0 {
                return match end {
                    Some(end) if *length < end => Err(FetchError::Unavailable(format!(
                        "the connection ended at byte {length} of {end}"
                    ))),
                    _ => Ok(()),
                };
            }
            if *length + count as u64 > max_bytes {
                return Err(FetchError::Invalid(format!(
                    "{} is longer than its {max_bytes} bytes",
                    self.label
                )));
            }
            if deadline.is_some_and(|deadline| deadline < Instant::now()) {
                return Err(FetchError::Unavailable(format!(
                    "{} came too slowly: {length} bytes in {:?}",
                    self.label,
                    self.time.unwrap_or_default()
                )));
            }
            file.write_all(&buffer[..count])
                .map_err(|error| files::write_error(partial, error))?;
            *length += count as u64;
            self.progress.advance(count as u64);
        }
    }

    fn check(&self, partial: &Path) -> FetchResult<()> {
        let Some(checksum) = Checksum::of_name(self.name) else {
            return Ok(());
        };
        let found = checksum.of_file(partial)?;
        if found.iter().any(|found| found == self.name) {
            return Ok(());
        }
        files::remove(partial);
        Err(FetchError::Invalid(format!(
            "{} has the {checksum} {}, not {}",
            self.label, found[0], self.name
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;

    use super::super::environment::Settings;
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_hub_that_sends_a_byte_now_and_then_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut connection in listener.incoming().flatten() {
                let lines = std::io::BufReader::new(connection.try_clone().unwrap()).lines();
                lines
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .for_each(drop);
                let head = "HTTP/1.1 200 -\r\nContent-Length: 1000000\r\n\r\n";
                let mut sent = connection.write_all(head.as_bytes());
                while sent.is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                    sent = connection.write_all(b"x");
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            endpoint,
            hub_cache: folder.path().to_owned(),
            own_cache: folder.path().to_owned(),
            offline: false,
            token: None,
        };
        let client = Client::new(&settings);
        let download = Download {
            client: &client,
            url: &format!("{}/file", settings.endpoint),
            label: "file",
            size: Some(1_000_000),
            name: "file",
            time: Some(Duration::from_millis(300)),
            progress: &Silent,
        };
        let refused = download.complete(&folder.path().join("file")).unwrap_err();
        assert!(refused.to_string().contains("came too slowly"), "{refused}");
    }
}
