//! What happens when a model file becomes shorter while it is in use, as by a download in place.
//!
//! Weights are read through a map of their file. Where the file has ended since, the system has nothing to give, and sends the
//! signal SIGBUS, which would end the program without a word. Only programs say why: in a library, signals are the caller's.

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

const MESSAGE: &[u8] =
    b"specdec: a model file became shorter while it was in use, or its disk failed: \
    let whatever writes it finish, and start again\n";
/// As after any other error.
const EXIT_STATUS: i32 = 1;

/// Has SIGBUS end the process with a message.
pub(super) fn explain() {
    // On the thread's own stack, which has room: the alternative stacks of Rust's threads are too small for some processors'
    // registers.
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler calls only what may be called in a handler.
    #[allow(unsafe_code)]
    let installed = unsafe { sigaction(Signal::SIGBUS, &action) };
    if let Err(error) = installed {
        tracing::debug!(%error, "SIGBUS keeps its handler");
    }
}

extern "C" fn end(_signal: i32) {
    // SAFETY: both are async-signal-safe (POSIX), and the message is a constant.
    #[allow(unsafe_code)]
    unsafe {
        libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
        libc::_exit(EXIT_STATUS)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::weights::Checkpoint;
    use crate::weights::safetensors::SafetensorsCheckpoint;

    const CHILD: &str = "SPECDEC_TEST_TRUNCATED_FILE";

    #[test]
    fn a_file_that_becomes_shorter_is_named_as_the_cause() {
        if let Some(file) = std::env::var_os(CHILD) {
            explain();
            let checkpoint = SafetensorsCheckpoint::open(&file).unwrap();
            let written = std::fs::File::options().write(true).open(&file).unwrap();
            written.set_len(0).unwrap();
            let names = checkpoint.names();
            let tensors = names.iter().filter_map(|name| checkpoint.tensor(name));
            let bytes: u64 = tensors
                .flat_map(|tensor| {
                    tensor
                        .data
                        .iter()
                        .map(|byte| u64::from(*byte))
                        .collect::<Vec<_>>()
                })
                .sum();
            panic!("read {bytes} from an empty file");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        let model = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/pair/draft/model.safetensors"
        );
        std::fs::copy(model, &file).unwrap();
        let test = "cli::bus_error::tests::a_file_that_becomes_shorter_is_named_as_the_cause";
        let output = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(CHILD, &file)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(EXIT_STATUS), "{stderr}");
        assert!(
            stderr.contains("became shorter while it was in use"),
            "{stderr}"
        );
    }
}
