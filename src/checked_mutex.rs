//! A mutex that refuses to wait in a circle.
//!
//! A user's model is code of the user, which may call the decoder that waits for it. A thread that locks twice, or threads that
//! wait for each other, get an error where they would wait for ever.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::error::{Error, Result};

/// The number of the thread that holds a mutex; [`NOBODY`] if none does.
type Owner = Arc<AtomicU64>;

const NOBODY: u64 = 0;

/// The threads that wait, each with the owner of what it waits for.
static WAITING: Mutex<BTreeMap<u64, Owner>> = Mutex::new(BTreeMap::new());

/// A mutex whose waiting threads know whom they wait for. A panic of its holder leaves the value as it is.
#[derive(Default)]
pub(crate) struct CheckedMutex<T> {
    owner: Owner,
    value: Mutex<T>,
}

/// The value, until this is dropped.
pub(crate) struct CheckedGuard<'a, T> {
    owner: &'a AtomicU64,
    value: MutexGuard<'a, T>,
}

impl<T> CheckedMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            owner: Owner::default(),
            value: Mutex::new(value),
        }
    }

    /// Waits for the value; fails if its holder waits for this thread, or is this thread.
    pub(crate) fn lock(&self) -> Result<CheckedGuard<'_, T>> {
        if let Some(guard) = self.try_lock() {
            return Ok(guard);
        }
        let this = this_thread();
        {
            let mut waiting = waiting();
            if waits_for(&self.owner, this, &waiting) {
                return Err(Error::CircularWait);
            }
            waiting.insert(this, self.owner.clone());
        }
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        // Before this thread is the owner: an owner that waits for itself would be a circle.
        waiting().remove(&this);
        Ok(self.guard(value))
    }

    /// The value, if no thread holds it.
    pub(crate) fn try_lock(&self) -> Option<CheckedGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(value) => Some(self.guard(value)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.guard(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The value, which nothing else refers to.
    #[cfg(feature = "python")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this thread holds the value.
    pub(crate) fn is_held_here(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == this_thread()
    }

    fn guard<'a>(&'a self, value: MutexGuard<'a, T>) -> CheckedGuard<'a, T> {
        self.owner.store(this_thread(), Ordering::Relaxed);
        CheckedGuard {
            owner: &self.owner,
            value,
        }
    }
}

impl<T> Deref for CheckedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for CheckedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for CheckedGuard<'_, T> {
    fn drop(&mut self) {
        self.owner.store(NOBODY, Ordering::Relaxed);
    }
}

/// Whether an owner is a thread, or waits for it, directly or through others. The last thread to wait sees the whole circle.
fn waits_for(owner: &Owner, thread: u64, waiting: &BTreeMap<u64, Owner>) -> bool {
    let mut owner = owner;
    for _ in 0..=waiting.len() {
        let holder = owner.load(Ordering::Relaxed);
        if holder == thread {
            return true;
        }
        match waiting.get(&holder) {
            Some(next) => owner = next,
            None => return false,
        }
    }
    false
}

fn waiting() -> MutexGuard<'static, BTreeMap<u64, Owner>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that no other thread has.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(NOBODY + 1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_that_locks_twice_gets_an_error() {
        let mutex = CheckedMutex::new(5);
        {
            let mut guard = mutex.lock().unwrap();
            assert!(mutex.is_held_here());
            assert!(matches!(mutex.lock(), Err(Error::CircularWait)));
            *guard += 1;
        }
        assert!(!mutex.is_held_here());
        assert_eq!(*mutex.lock().unwrap(), 6);
    }

    #[test]
    fn threads_that_wait_for_each_other_get_an_error() {
        const THREADS: usize = 3;
        let mutexes: [CheckedMutex<()>; THREADS] = Default::default();
        let all_hold_one = Barrier::new(THREADS);
        let refused: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|index| {
                    let (mutexes, all_hold_one) = (&mutexes, &all_hold_one);
                    scope.spawn(move || {
                        let _own = mutexes[index].lock().unwrap();
                        all_hold_one.wait();
                        usize::from(mutexes[(index + 1) % THREADS].lock().is_err())
                    })
                })
                .collect();
            let refused = threads.into_iter().map(|thread| thread.join().unwrap());
            refused.sum()
        });
        assert_eq!(refused, 1);
    }

    #[test]
    fn threads_take_turns() {
        let count = CheckedMutex::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| *count.lock().unwrap() += 1));
            }
        });
        assert_eq!(*count.lock().unwrap(), 4000);
        // Other tests' threads may wait, for other mutexes.
        let waiting = waiting();
        assert!(
            waiting
                .values()
                .all(|owner| !Arc::ptr_eq(owner, &count.owner))
        );
    }
}
