//! A thread pool for parallel regions of tens of microseconds.
//!
//! Workers spin for a short while after a region, so that the next one starts at once, then park: an idle model takes no
//! CPU time. A region's work items are claimed one by one, so that a preempted thread delays the others by one item at
//! most; results never depend on which thread computed an item.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
#[cfg(all(unix, not(miri)))]
use std::sync::atomic::AtomicU32;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};

/// Iterations that a worker spins before it parks: about 100 microseconds.
const SPINS: u32 = 4000;

/// Threads that compute together.
pub(super) struct Pool {
    threads: usize,
    /// Locked while a region runs: the regions of several models are serialized.
    workers: Mutex<Workers>,
}

/// The worker threads that this process started.
struct Workers {
    process: Process,
    /// `None` before the first region.
    region: Option<Arc<Region>>,
    threads: Vec<Thread>,
}

/// This process, or the one that it was forked from.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Process(u32);

impl Process {
    /// Counts forks where it can: asking the system for the id takes as long as a small region.
    fn current() -> Self {
        // Miri knows of no forks.
        #[cfg(all(unix, not(miri)))]
        {
            static FORKS: AtomicU32 = AtomicU32::new(0);
            static COUNTED: OnceLock<bool> = OnceLock::new();
            extern "C" fn count() {
                FORKS.fetch_add(1, Ordering::Relaxed);
            }
            // SAFETY: in the child, `count` only changes an atomic number.
            let register = || unsafe { libc::pthread_atfork(None, None, Some(count)) == 0 };
            if *COUNTED.get_or_init(register) {
                return Self(FORKS.load(Ordering::Relaxed));
            }
        }
        Self(std::process::id())
    }
}

/// A region's work: called with each item.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// The current parallel region, as the workers see it.
#[derive(Default)]
struct Region {
    /// The region's number, whether it is open, and how many workers are in it: see [`State`].
    state: AtomicU64,
    /// The region's work: alive while the region is open or a worker is in it.
    task: Mutex<Option<Task>>,
    /// The next item to claim.
    next: AtomicUsize,
    /// Parked workers, as bits.
    parked: AtomicU64,
    panicked: AtomicBool,
}

/// A single word, so that no worker enters a region while it is being closed.
#[derive(Clone, Copy)]
struct State(u64);

impl State {
    const OPEN: u64 = 1 << 31;

    /// An open region with no worker in it.
    fn open(number: u32) -> Self {
        Self(u64::from(number) << 32 | Self::OPEN)
    }

    fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn is_open(self) -> bool {
        self.0 & Self::OPEN != 0
    }

    fn workers(self) -> u64 {
        self.0 & (Self::OPEN - 1)
    }
}

/// A region's work and its number of items.
#[derive(Clone, Copy)]
struct Task {
    work: *const Work<'static>,
    items: usize,
}

// SAFETY: the work is `Sync`, and outlives the region (see `Pool::for_each`).
unsafe impl Send for Task {}

/// The default number of threads: as many as this process may run at once.
fn usable_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Pool {
    /// The number of bits of `Region::parked`; regions this short cannot use more threads anyway.
    pub(super) const MAX_THREADS: usize = 64;

    /// The process's pool with this number of threads; `None`: as many as its affinity mask and CPU quota allow.
    pub(super) fn shared(threads: Option<usize>) -> Arc<Self> {
        static POOLS: OnceLock<Mutex<HashMap<usize, Arc<Pool>>>> = OnceLock::new();
        let threads = threads
            .unwrap_or_else(usable_threads)
            .clamp(1, Self::MAX_THREADS);
        let mut pools = POOLS
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pool = pools.entry(threads).or_insert_with(|| {
            Arc::new(Self {
                threads,
                workers: Mutex::new(Workers {
                    process: Process::current(),
                    region: None,
                    threads: Vec::new(),
                }),
            })
        });
        pool.clone()
    }

    /// Number of threads, including the caller's.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work` with every number below `items`, on all threads, and returns when all calls have.
    ///
    /// A panic in `work` is resumed once all threads have left the region.
    pub(super) fn for_each(&self, items: usize, work: &Work<'_>) {
        if self.threads == 1 || items <= 1 {
            (0..items).for_each(work);
            return;
        }
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let (region, threads) = workers.ready(self.threads - 1);
        #[allow(
            clippy::transmute_ptr_to_ptr,
            reason = "a cast can't extend a trait object's lifetime"
        )]
        // SAFETY: only the lifetime changes. Workers call it only while they are in the region, and this function returns
        // after all of them have left.
        let work: *const Work<'static> = unsafe {
            std::mem::transmute::<*const Work<'_>, *const Work<'static>>(std::ptr::from_ref(work))
        };
        let task = Task { work, items };
        region.open(task, threads);
        // SAFETY: the work is alive, since the caller's borrow is.
        let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { region.run_items(task) }));
        region.close();
        drop(workers);
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
        assert!(
            !region.panicked.swap(false, Ordering::Relaxed),
            "a worker thread panicked in a kernel"
        );
    }
}

impl Workers {
    /// The region and the workers' threads, which are started again after a fork, since a fork copies no threads.
    fn ready(&mut self, count: usize) -> (Arc<Region>, &[Thread]) {
        let process = Process::current();
        if self.process != process {
            self.process = process;
            self.region = None;
            // These are the parent process's.
            std::mem::take(&mut self.threads)
                .into_iter()
                .for_each(std::mem::forget);
        }
        let region = self.region.get_or_insert_with(|| {
            let region = Arc::<Region>::default();
            for index in 0..count {
                let shared = region.clone();
                let worker = thread::Builder::new()
                    .name(format!("specdec-{index}"))
                    .spawn(move || shared.worker_loop(index));
                // Without these threads, the others compute alone.
                let Ok(worker) = worker else {
                    tracing::warn!("the system started {index} of {count} worker threads");
                    break;
                };
                self.threads.push(worker.thread().clone());
            }
            region
        });
        (region.clone(), &self.threads)
    }
}

impl Region {
    /// Opens the next region and wakes the parked workers.
    fn open(&self, task: Task, threads: &[Thread]) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        self.next.store(0, Ordering::Relaxed);
        let last = State(self.state.load(Ordering::Relaxed)).number();
        // Ordered with `wait_for_region`: either the worker sees the new region, or this thread sees that it is parked.
        let opened = State::open(last.wrapping_add(1));
        self.state.store(opened.0, Ordering::SeqCst);
        let parked = self.parked.load(Ordering::SeqCst);
        for (index, thread) in threads.iter().enumerate() {
            if parked >> index & 1 == 1 {
                thread.unpark();
            }
        }
    }

    /// Claims and runs items until none is left.
    ///
    /// # Safety
    /// The region's work must be alive.
    unsafe fn run_items(&self, task: Task) {
        // SAFETY: the caller ensures it.
        let work = unsafe { &*task.work };
        loop {
            let item = self.next.fetch_add(1, Ordering::Relaxed);
            if item >= task.items {
                return;
            }
            work(item);
        }
    }

    /// Closes the region and waits for the workers in it; workers that have not entered it are not waited for.
    fn close(&self) {
        // After a panic, the remaining items must not start.
        self.next.fetch_add(usize::MAX / 2, Ordering::Relaxed);
        let mut state = self.state.fetch_and(!State::OPEN, Ordering::AcqRel);
        let mut spins = 0_u32;
        while State(state).workers() > 0 {
            spins += 1;
            // A worker that the system has preempted may need this very core.
            if spins.is_multiple_of(SPINS) {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
            state = self.state.load(Ordering::Acquire);
        }
    }

    /// A worker's main loop: runs one region after the other.
    fn worker_loop(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait_for_region(index, seen);
            let task = *self.task.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(task) = task {
                // SAFETY: this worker is counted in `state`: the region's caller waits, and its work is alive.
                let run = AssertUnwindSafe(|| unsafe { self.run_items(task) });
                if catch_unwind(run).is_err() {
                    self.panicked.store(true, Ordering::Relaxed);
                }
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open region other than number `seen`, and enters it: returns its number.
    fn wait_for_region(&self, index: usize, seen: u32) -> u32 {
        for _ in 0..SPINS {
            if let Some(number) = self.try_enter(seen) {
                return number;
            }
            std::hint::spin_loop();
        }
        let own_bit = 1_u64 << index;
        self.parked.fetch_or(own_bit, Ordering::SeqCst);
        let number = loop {
            if let Some(number) = self.try_enter(seen) {
                break number;
            }
            thread::park();
        };
        self.parked.fetch_and(!own_bit, Ordering::SeqCst);
        number
    }

    fn try_enter(&self, seen: u32) -> Option<u32> {
        let state = State(self.state.load(Ordering::SeqCst));
        if !state.is_open() || state.number() == seen {
            return None;
        }
        let entered =
            self.state
                .compare_exchange(state.0, state.0 + 1, Ordering::AcqRel, Ordering::Relaxed);
        entered.is_ok().then(|| state.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_visited_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::shared(Some(threads));
            for items in [0, 1, 2, 7, 1000] {
                let visits: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                pool.for_each(items, &|item| {
                    visits[item].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    visits
                        .iter()
                        .all(|visit| visit.load(Ordering::Relaxed) == 1)
                );
            }
        }
    }

    #[test]
    fn parked_workers_wake() {
        let pool = Pool::shared(Some(3));
        for _ in 0..5 {
            thread::sleep(std::time::Duration::from_millis(20));
            let sum = AtomicUsize::new(0);
            pool.for_each(100, &|item| {
                sum.fetch_add(item, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 4950);
        }
    }

    #[test]
    fn a_panic_is_resumed_and_the_pool_survives() {
        let pool = Pool::shared(Some(4));
        for bad in [0, 50, 99] {
            let region = || {
                pool.for_each(100, &|item| assert_ne!(item, bad, "on purpose"));
            };
            assert!(catch_unwind(AssertUnwindSafe(region)).is_err());
        }
        pool.for_each(10, &|_| ());
    }

    #[test]
    fn concurrent_callers_are_serialized() {
        let pool = Pool::shared(Some(2));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let sum = AtomicUsize::new(0);
                        pool.for_each(8, &|item| {
                            sum.fetch_add(item, Ordering::Relaxed);
                        });
                        assert_eq!(sum.load(Ordering::Relaxed), 28);
                    }
                });
            }
        });
    }
}
