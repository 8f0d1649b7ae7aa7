//! The number of compute threads, running two functions in parallel, and one on a larger stack.

use std::io;
use std::panic::resume_unwind;
use std::thread;

use crate::error::{Error, Result};
use crate::panics::{self, Caught};

const VARIABLE: &str = "SPECDEC_NUM_THREADS";
/// More than any machine can use; a larger number is a typing error.
const MAX_THREADS: usize = 1024;

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

/// Checks a number of threads that the setting `name` asks for.
pub(crate) fn check(name: &str, threads: usize) -> Result<usize> {
    match threads {
        1..=MAX_THREADS => Ok(threads),
        _ => Err(out_of_range(name, threads)),
    }
}

fn out_of_range(name: &str, value: impl std::fmt::Display) -> Error {
    Error::invalid(name, value, format!("a number from 1 to {MAX_THREADS}"))
}

/// Calls both functions in parallel, `a` on a new thread; one after the other if the system refuses a thread.
pub(crate) fn join<A: Send, B>(a: impl Fn() -> A + Sync, b: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let helper = thread::Builder::new().name("specdec-load".to_owned());
        let helper = helper.spawn_scoped(scope, &a);
        let b = b();
        let a = match helper {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => a(),
        };
        (a, b)
    })
}

/// Lets other threads of this process, those that decode above all, go before this one where there are more threads than cores.
/// (Only on Linux: elsewhere a priority is the whole process's, or takes permission.)
pub(crate) fn yield_to_others() {
    #[cfg(target_os = "linux")]
    {
        /// About a tenth of a core's time beside a thread of ordinary priority.
        const NICE: i32 = 10;
        // Of this thread alone. If it fails, nothing is lost but the order.
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}

/// Calls what may panic, on a thread of its own with so many bytes of stack. The outer error is the system's, which has no
/// thread.
pub(crate) fn with_stack<T: Send>(
    bytes: usize,
    call: impl FnOnce() -> T + Send,
) -> io::Result<Result<T, Caught>> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(bytes);
        let thread = builder.spawn_scoped(scope, || panics::catch(call))?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
