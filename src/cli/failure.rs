//! How a command ends when it does not end well.

use std::io;

use crate::error::Error;

/// What a command returns.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// The library's errors, and those of reading files.
    Error(Error),
    /// An error of loading what a profile names.
    Profile(Error),
    /// Arguments that do not go together.
    Usage(String),
    /// stdout can't be written to.
    Output(io::Error),
    /// What was to be shown turned out not to be so.
    Broken(String),
    /// Ctrl-C.
    Interrupted,
}

impl Failure {
    /// Tells the user in one line, and returns the exit status.
    pub(super) fn report(self) -> u8 {
        let (message, status) = match self {
            // A setting out of its range is a wrong use, like one that can't be parsed.
            Self::Error(error @ Error::InvalidConfig { .. }) => (error.to_string(), 2),
            Self::Error(error) => (error.to_string(), 1),
            Self::Profile(error) => {
                let advice =
                    "as the profile of `specdec tune` has it: --no-profile leaves it alone";
                (format!("{error} ({advice})"), 1)
            }
            Self::Usage(message) => (message, 2),
            Self::Broken(message) => (message, 1),
            // Whoever read our output has seen enough (`| head`).
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
            Self::Output(error) => (format!("writing to stdout failed: {error}"), 1),
            Self::Interrupted => return 130,
        };
        say(&message);
        status
    }
}

/// Tells an error in one line; libraries underneath may have written several.
pub(super) fn say(message: &str) {
    use io::Write;
    let lines = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    // Unlike `eprintln!`, a closed stderr is no reason to panic.
    let _ = writeln!(io::stderr(), "specdec: {line}");
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The only bare I/O errors in this module come from writing results; those of reading name their file.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
