//! Panics that are caught.
//!
//! libFuzzer's hook ends the process at every panic, those included that the library catches on purpose: tokenizers and
//! llguidance panic at contents that contradict themselves, which then is an error.

use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::abort;
use std::sync::Mutex;

/// The latest panic, with the place where it happened.
static LATEST: Mutex<Option<(String, Backtrace)>> = Mutex::new(None);

/// Lets the code under test catch its panics, without a word of each.
pub fn catch_panics() {
    set_hook(Box::new(|panic| {
        let latest = (panic.to_string(), Backtrace::force_capture());
        *LATEST.lock().unwrap() = Some(latest);
    }));
}

/// Runs one input after [`catch_panics`]: a panic that nothing catches is reported, and ends the process.
pub fn reported(run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        if let Some((panic, backtrace)) = LATEST.lock().unwrap().take() {
            eprintln!("{panic}\n{backtrace}");
        }
        abort();
    }
}
