//! Threads for regions of tens of microseconds.
//!
//! Helpers wait busily for a short while after a region, so that the next one begins at once, then sleep: an idle
//! model takes no processor time. A region's items are claimed one by one, so that a disturbed thread delays the
//! others by one item at most; results never depend on who computed what.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};

/// Turns of waiting before a helper sleeps: some 100 microseconds.
const SPINS: u32 = 4000;

/// Threads that compute together.
pub(super) struct Pool {
    threads: usize,
    /// Held while a region runs: requests of several models take turns.
    crew: Mutex<Crew>,
}

/// The helpers, as this process started them.
struct Crew {
    process: u32,
    /// `None` until the first region.
    shared: Option<Arc<Board>>,
    helpers: Vec<Thread>,
}

/// A region's work: called with each item.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// What the helpers see.
#[derive(Default)]
struct Board {
    /// The region's number, whether it is open, and how many helpers are in it: see [`State`].
    state: AtomicU64,
    /// The region's work: alive while it is open or a helper is in it.
    work: Mutex<Option<Assignment>>,
    /// The next item to claim, below the region's count.
    next: AtomicUsize,
    /// Helpers that sleep, as bits.
    asleep: AtomicU64,
    panicked: AtomicBool,
}

/// One word, so that no helper enters a region in the moment in which it is closed.
#[derive(Clone, Copy)]
struct State(u64);

impl State {
    const OPEN: u64 = 1 << 31;

    /// An open region with no helper in it.
    fn open(region: u32) -> Self {
        Self(u64::from(region) << 32 | Self::OPEN)
    }

    fn region(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn is_open(self) -> bool {
        self.0 & Self::OPEN != 0
    }

    fn helpers(self) -> u64 {
        self.0 & (Self::OPEN - 1)
    }
}

/// A region's work and its number of items.
#[derive(Clone, Copy)]
struct Assignment {
    work: *const Work<'static>,
    items: usize,
}

// SAFETY: the work is `Sync`, and outlives the region (see `Pool::for_each`).
unsafe impl Send for Assignment {}

/// Number of threads where nobody asks for another: as many as this process may use at once.
fn usable_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Pool {
    /// More threads than this have no bit to sleep under, and nothing to do in regions this short.
    pub(super) const MOST_THREADS: usize = 64;

    /// The process's pool of so many threads; `None`: as many as it may use, by its affinity and its quota.
    pub(super) fn shared(threads: Option<usize>) -> Arc<Self> {
        static POOLS: OnceLock<Mutex<HashMap<usize, Arc<Pool>>>> = OnceLock::new();
        let threads = threads
            .unwrap_or_else(usable_threads)
            .clamp(1, Self::MOST_THREADS);
        let mut pools = POOLS
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pool = pools.entry(threads).or_insert_with(|| {
            Arc::new(Self {
                threads,
                crew: Mutex::new(Crew {
                    process: 0,
                    shared: None,
                    helpers: Vec::new(),
                }),
            })
        });
        pool.clone()
    }

    /// Number of threads, the caller's own included.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work` with every number below `items`, on all threads, and returns when all calls have.
    ///
    /// A panic in `work` is passed on once all threads have left the region.
    pub(super) fn for_each(&self, items: usize, work: &Work<'_>) {
        if self.threads == 1 || items <= 1 {
            (0..items).for_each(work);
            return;
        }
        let mut crew = self.crew.lock().unwrap_or_else(PoisonError::into_inner);
        let (board, helpers) = crew.ready(self.threads - 1);
        #[allow(
            clippy::transmute_ptr_to_ptr,
            reason = "a cast may not lengthen a trait object's life"
        )]
        // SAFETY: only the lifetime changes. Helpers call it only between the region's begin and their leaving
        // it, and this function returns after all have left.
        let work: *const Work<'static> = unsafe {
            std::mem::transmute::<*const Work<'_>, *const Work<'static>>(std::ptr::from_ref(work))
        };
        let assignment = Assignment { work, items };
        board.begin(assignment, helpers);
        // SAFETY: the work is alive: the caller lent it.
        let own = catch_unwind(AssertUnwindSafe(|| unsafe { board.take_part(assignment) }));
        board.finish();
        drop(crew);
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(
            !board.panicked.swap(false, Ordering::Relaxed),
            "a helper thread panicked in a kernel"
        );
    }
}

impl Crew {
    /// The board and its helpers; after a fork, which copies no threads, with new ones.
    fn ready(&mut self, helpers: usize) -> (Arc<Board>, &[Thread]) {
        let process = std::process::id();
        if self.process != process {
            self.process = process;
            self.shared = None;
            // Of a forked process's parent.
            std::mem::take(&mut self.helpers)
                .into_iter()
                .for_each(std::mem::forget);
        }
        let board = self.shared.get_or_insert_with(|| {
            let board = Arc::<Board>::default();
            for index in 0..helpers {
                let own = board.clone();
                let helper = thread::Builder::new()
                    .name(format!("specdec-{index}"))
                    .spawn(move || own.help(index));
                // Where the system gives no more threads, fewer compute.
                let Ok(helper) = helper else {
                    tracing::warn!("the system started {index} of {helpers} helper threads");
                    break;
                };
                self.helpers.push(helper.thread().clone());
            }
            board
        });
        (board.clone(), &self.helpers)
    }
}

impl Board {
    fn begin(&self, assignment: Assignment, helpers: &[Thread]) {
        *self.work.lock().unwrap_or_else(PoisonError::into_inner) = Some(assignment);
        self.next.store(0, Ordering::Relaxed);
        let last = State(self.state.load(Ordering::Relaxed)).region();
        // Ordered with `enter`: either the helper sees the new region, or this sees that it sleeps.
        let opened = State::open(last.wrapping_add(1));
        self.state.store(opened.0, Ordering::SeqCst);
        let asleep = self.asleep.load(Ordering::SeqCst);
        for (index, helper) in helpers.iter().enumerate() {
            if asleep >> index & 1 == 1 {
                helper.unpark();
            }
        }
    }

    /// Claims items until none is left.
    ///
    /// # Safety
    /// The region's work must be alive.
    unsafe fn take_part(&self, assignment: Assignment) {
        // SAFETY: the caller's promise.
        let work = unsafe { &*assignment.work };
        loop {
            let item = self.next.fetch_add(1, Ordering::Relaxed);
            if item >= assignment.items {
                return;
            }
            work(item);
        }
    }

    /// Closes the region and waits for the helpers in it; those that have not come yet are not waited for.
    fn finish(&self) {
        // Items left behind by a panic are not begun any more.
        self.next.fetch_add(usize::MAX / 2, Ordering::Relaxed);
        let mut state = self.state.fetch_and(!State::OPEN, Ordering::AcqRel);
        let mut turns = 0_u32;
        while State(state).helpers() > 0 {
            turns += 1;
            // A helper that the system has suspended may need this very core.
            if turns.is_multiple_of(SPINS) {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
            state = self.state.load(Ordering::Acquire);
        }
    }

    /// A helper's life: region after region.
    fn help(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.enter(index, seen);
            let assignment = *self.work.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(assignment) = assignment {
                // SAFETY: this helper is counted in `state`: the region's caller waits, and its work is alive.
                let part = AssertUnwindSafe(|| unsafe { self.take_part(assignment) });
                if catch_unwind(part).is_err() {
                    self.panicked.store(true, Ordering::Relaxed);
                }
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open region other than `seen`, and enters it.
    fn enter(&self, index: usize, seen: u32) -> u32 {
        for _ in 0..SPINS {
            if let Some(region) = self.try_enter(seen) {
                return region;
            }
            std::hint::spin_loop();
        }
        let own_bit = 1_u64 << index;
        self.asleep.fetch_or(own_bit, Ordering::SeqCst);
        let region = loop {
            if let Some(region) = self.try_enter(seen) {
                break region;
            }
            thread::park();
        };
        self.asleep.fetch_and(!own_bit, Ordering::SeqCst);
        region
    }

    fn try_enter(&self, seen: u32) -> Option<u32> {
        let state = State(self.state.load(Ordering::SeqCst));
        if !state.is_open() || state.region() == seen {
            return None;
        }
        let entered =
            self.state
                .compare_exchange(state.0, state.0 + 1, Ordering::AcqRel, Ordering::Relaxed);
        entered.is_ok().then(|| state.region())
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
    fn helpers_wake_from_sleep() {
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
    fn a_panic_is_passed_on_and_the_pool_lives() {
        let pool = Pool::shared(Some(4));
        for bad in [0, 50, 99] {
            let region = || {
                pool.for_each(100, &|item| assert_ne!(item, bad, "as planned"));
            };
            assert!(catch_unwind(AssertUnwindSafe(region)).is_err());
        }
        pool.for_each(10, &|_| ());
    }

    #[test]
    fn several_callers_take_turns() {
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
