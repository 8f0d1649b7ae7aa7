//! With how many threads to compute, and two things at the same time.

use std::panic::resume_unwind;
use std::thread;

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

/// Calls both at the same time, `a` on a thread of its own; where the system has none to give, one after the other.
pub(crate) fn join<A: Send, B>(a: impl Fn() -> A + Sync, b: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let beside = thread::Builder::new().name("specdec-load".to_owned());
        let beside = beside.spawn_scoped(scope, &a);
        let b = b();
        let a = match beside {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => a(),
        };
        (a, b)
    })
}
