//! The system's limit of open files, of which each connection is one.

/// The files that the process needs besides.
const OTHERS: usize = 100;

/// As many connections as are wanted, if the system lets the process have them.
pub(in crate::server) fn possible(wanted: usize) -> usize {
    let possible = files(wanted.saturating_add(OTHERS)).saturating_sub(OTHERS);
    if possible < wanted {
        let connections = possible.max(1);
        tracing::warn!(
            "at most {connections} connections: the limit of open files (ulimit -n) allows no more"
        );
        return connections;
    }
    wanted
}

/// How many files may be open: raises the limit to as many as are wanted, if that is allowed.
#[cfg(unix)]
fn files(wanted: usize) -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    let raised = soft.max(hard.min(wanted as u64));
    let files = match setrlimit(Resource::RLIMIT_NOFILE, raised, hard) {
        Ok(()) => raised,
        Err(_) => soft,
    };
    files.try_into().unwrap_or(usize::MAX)
}

#[cfg(not(unix))]
fn files(wanted: usize) -> usize {
    wanted
}
