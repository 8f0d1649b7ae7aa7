//! A terminal that does not show what is typed: it keeps it for the next prompt instead of mixing it into an answer.

use std::io::{self, Write};

const WHOLE_PASTES_ON: &str = "\u{1b}[?2004h";
const WHOLE_PASTES_OFF: &str = "\u{1b}[?2004l";

/// Until the guard is dropped, the terminal does not show what is typed.
pub(super) fn start() -> Guard {
    terminal::silence();
    keep_pastes_whole();
    Guard
}

/// Has the terminal mark where a pasted text starts and ends, so that its lines are not taken for messages.
pub(super) fn keep_pastes_whole() {
    if terminal::is_silent() {
        write(WHOLE_PASTES_ON);
    }
}

/// Ends what [`start`] began, if anything did: also where the program ends while the guard is alive.
pub(super) fn end() {
    if terminal::restore() {
        write(WHOLE_PASTES_OFF);
    }
}

/// See [`start`].
pub(super) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        end();
    }
}

fn write(sequence: &str) {
    let mut out = io::stdout();
    let _ = out
        .write_all(sequence.as_bytes())
        .and_then(|()| out.flush());
}

#[cfg(unix)]
mod terminal {
    use std::io;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use nix::sys::termios::{self, InputFlags, LocalFlags, SetArg, Termios};

    /// The mode before.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    fn before() -> MutexGuard<'static, Option<Termios>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is typed, letter by letter as the line editor reads it; Ctrl-C still interrupts.
    pub(super) fn silence() {
        let mut before = before();
        let Ok(mode) = termios::tcgetattr(io::stdin()) else {
            return;
        };
        let mut quiet = mode.clone();
        quiet
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ICANON);
        quiet.input_flags.remove(InputFlags::ICRNL);
        // Ctrl-C does not throw away what was typed.
        quiet.local_flags.insert(LocalFlags::NOFLSH);
        if termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &quiet).is_ok() {
            *before = Some(mode);
        }
    }

    pub(super) fn is_silent() -> bool {
        before().is_some()
    }

    /// Whether there was something to restore.
    pub(super) fn restore() -> bool {
        let mode = before().take();
        mode.is_some_and(|mode| termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &mode).is_ok())
    }
}

/// Elsewhere a console shows what is typed only while a line is read.
#[cfg(not(unix))]
mod terminal {
    pub(super) fn silence() {}

    pub(super) fn is_silent() -> bool {
        false
    }

    pub(super) fn restore() -> bool {
        false
    }
}
