//! cli
#![allow(missing_docs)]
use std::ffi::OsString;
use std::process::ExitCode;
pub fn run(_: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(2)
}
pub fn run_benchmark(_: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(2)
}
