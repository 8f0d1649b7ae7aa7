//! `SPECDEC_NUM_THREADS`: with how many threads to compute.

use std::ffi::OsString;

use super::failure::say;
use crate::error::{Error, Result};

const VARIABLE: &str = "SPECDEC_NUM_THREADS";
/// What the thread pools read when they first compute.
pub(crate) const POOLS: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];
/// More than any machine can use, few enough to start.
pub(crate) const MOST: usize = 1024;

/// The number of threads that the user asks for.
pub(crate) fn wanted() -> Result<Option<usize>> {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    if value.is_empty() {
        return Ok(None);
    }
    match value.parse() {
        Ok(threads) if (1..=MOST).contains(&threads) => Ok(Some(threads)),
        _ => Err(Error::invalid(
            VARIABLE,
            value,
            format!("a number from 1 to {MOST}"),
        )),
    }
}

/// Begins this program anew where the pools would start another number of threads than is asked for.
///
/// They read their environment, which a running process can't change safely.
pub(super) fn restart_with_wanted(args: &[OsString]) {
    let Ok(Some(threads)) = wanted() else {
        return;
    };
    let threads = threads.to_string();
    if POOLS
        .iter()
        .all(|pool| std::env::var(pool).as_ref() == Ok(&threads))
    {
        return;
    }
    let reason = restart(args, &threads);
    say(&format!(
        "{VARIABLE} has no effect here ({reason}): set {} instead",
        POOLS[0]
    ));
}

/// Returns only if it fails.
#[cfg(unix)]
fn restart(args: &[OsString], threads: &str) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut command = std::process::Command::new(program);
    if let [name, rest @ ..] = args {
        command.arg0(name).args(rest);
    }
    command.envs(POOLS.map(|pool| (pool, threads))).exec()
}

#[cfg(not(unix))]
fn restart(_: &[OsString], _: &str) -> std::io::Error {
    std::io::ErrorKind::Unsupported.into()
}
