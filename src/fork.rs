//! What a fork leaves: the child has none of its parent's other threads, and what they had locked stays locked.
//!
//! Threads are counted while they work. A child that was forked meanwhile refuses to work, since it might wait for a thread that
//! is not there; one that was forked while none worked can do all that its parent can.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// A process in the upper half, and how many of its threads work in the lower one.
static WORKING: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// How often this thread is counted: more than once where work calls Python, which calls this crate.
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

/// Counts this thread until it is dropped.
pub(crate) struct Working(PhantomData<*const ()>);

/// Counts another thread until it is dropped.
pub(crate) struct WorkingElsewhere(());

/// Counts this thread; fails where it may not work.
pub(crate) fn work() -> Result<Working> {
    check()?;
    WORKING.fetch_add(1, Ordering::SeqCst);
    COUNTED.set(COUNTED.get() + 1);
    Ok(Working(PhantomData))
}

/// Counts a thread that this one starts, or hands work to; fails where it may not work.
pub(crate) fn work_elsewhere() -> Result<WorkingElsewhere> {
    check()?;
    WORKING.fetch_add(1, Ordering::SeqCst);
    Ok(WorkingElsewhere(()))
}

/// Fails in a process that was forked while other threads than the one that forked it worked.
pub(crate) fn check() -> Result<()> {
    let this = u64::from(std::process::id()) << 32;
    let mut working = WORKING.load(Ordering::SeqCst);
    loop {
        let count = working & u64::from(u32::MAX);
        if working - count == this {
            return Ok(());
        }
        if count > COUNTED.get() {
            return Err(Error::Forked);
        }
        match WORKING.compare_exchange(working, this | count, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Ok(()),
            Err(changed) => working = changed,
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        COUNTED.set(COUNTED.get() - 1);
        WORKING.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for WorkingElsewhere {
    fn drop(&mut self) {
        WORKING.fetch_sub(1, Ordering::SeqCst);
    }
}
