//! With how many threads to compute.

use crate::error::{Error, Result};

const VARIABLE: &str = "SPECDEC_NUM_THREADS";
/// More than any machine can use, few enough to be no slip of the finger.
const MOST: usize = 1024;

/// The number of threads that `SPECDEC_NUM_THREADS` asks for.
pub(crate) fn from_environment() -> Result<Option<usize>> {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    if value.is_empty() {
        return Ok(None);
    }
    match value.parse() {
        Ok(threads) => check(VARIABLE, threads).map(Some),
        Err(_) => Err(out_of_range(VARIABLE, value)),
    }
}

/// A number of threads that was asked for by that name, if it is one that can be had.
pub(crate) fn check(name: &str, threads: usize) -> Result<usize> {
    match threads {
        1..=MOST => Ok(threads),
        _ => Err(out_of_range(name, threads)),
    }
}

fn out_of_range(name: &str, value: impl std::fmt::Display) -> Error {
    Error::invalid(name, value, format!("a number from 1 to {MOST}"))
}
