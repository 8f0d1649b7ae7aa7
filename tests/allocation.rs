//! A decode step allocates nothing, for one token or for several that are verified.
//!
//! This is a separate test program because the allocator counts for the whole process.

#![allow(unsafe_code, reason = "an allocator that counts")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use specdec_rs::SpeculativeDecoder;
use support::pair;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
struct Counting;

// SAFETY: every call is forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller upholds the system allocator's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn a_decode_step_allocates_nothing() {
    assert!(
        allocations(|| drop(vec![1])) > 0,
        "the allocator does not count"
    );
    for threads in [1, 2] {
        let builder = SpeculativeDecoder::builder()
            .target(pair::folder("target").to_string_lossy())
            .threads(threads);
        let decoder = builder.draft("none").load().unwrap();
        let mut sequence = decoder.sequence();
        sequence.extend(&[5; 70], 0).unwrap();
        for rows in [1, 2, 8, 16] {
            let tokens = vec![7; rows];
            let mut step = || {
                drop(sequence.extend(&tokens, rows).unwrap());
                sequence.truncate(70).unwrap();
            };
            // The first step allocates the buffers for this many rows, and on a busy machine a worker thread may start even
            // later.
            step();
            let mut rounds = (0..4).map(|_| allocations(|| (0..20).for_each(|_| step())));
            let steady = rounds.any(|counted| counted == 0);
            assert!(steady, "{rows} rows, {threads} threads");
        }
    }
}
