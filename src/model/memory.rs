//! Whether a model will fit, asked before it is loaded.

use std::fs;

use crate::error::{Error, Result};

/// Bytes that this process may still take; `None` where the system doesn't say.
pub(crate) fn available() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let system = kilobytes * 1024;
    Some(control_group().map_or(system, |group| system.min(group)))
}

/// What the process's control group (version 2) has left, caches that can be dropped not counted as taken.
fn control_group() -> Option<u64> {
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let taken: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat")?;
    let droppable = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "));
    let droppable: u64 = droppable?.trim().parse().ok()?;
    Some(limit.saturating_sub(taken.saturating_sub(droppable)))
}

/// Says how much memory the weights will take, and fails if there is less.
pub(super) fn check(bytes: u64) -> Result<()> {
    let available = available();
    if let Some(available) = available {
        tracing::info!(bytes, available, "memory for the weights");
    }
    require(
        (bytes, available),
        "the weights take",
        "use a smaller model, or quantize its weights (`quantize` \"q4_0\")",
    )
}

/// Fails if a draft head's next matrix, of so many bytes, does not fit.
pub(super) fn check_of_head(bytes: usize) -> Result<()> {
    let what = "a matrix of the draft head takes";
    require((bytes as u64, available()), what, "use another draft")
}

fn require((bytes, available): (u64, Option<u64>), what: &str, advice: &str) -> Result<()> {
    let Some(available) = available.filter(|available| bytes > *available) else {
        return Ok(());
    };
    Err(Error::OutOfMemory {
        reason: format!(
            "{what} {}, but only {} is available: {advice}",
            gibibytes(bytes),
            gibibytes(available)
        ),
    })
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_with_both_sizes() {
        check(1000).unwrap();
        check_of_head(1000).unwrap();
        if available().is_some() {
            let message = check(1 << 60).unwrap_err().to_string();
            assert!(message.contains("1073741824.00 GiB"), "{message}");
            assert!(check_of_head(1 << 60).is_err());
        }
    }
}
