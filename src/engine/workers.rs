//! Work on a request beside the scheduler's thread: the parser of a response format may take long, and the other requests
//! don't wait for it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::fork;
use crate::panics::{self, Caught};
use crate::threads;

/// What is done with an item.
type Task<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Threads that work on one item each.
pub(super) struct Workers<T> {
    /// By their numbers.
    threads: Vec<Worker<T>>,
    done: Receiver<Done<T>>,
    /// The workers' end of it.
    sender: Sender<Done<T>>,
}

struct Worker<T> {
    tasks: Sender<(T, Task<T>)>,
    /// When its task began; `None`: it has none.
    busy: Option<Instant>,
}

/// An item that was worked on.
pub(super) struct Done<T> {
    worker: usize,
    pub(super) item: T,
    /// What the task panicked with, if it did.
    pub(super) panic: Option<String>,
}

impl<T: Send + 'static> Workers<T> {
    /// Without threads: they are started when they are needed.
    pub(super) fn new() -> Self {
        let (sender, done) = channel();
        Self {
            threads: Vec::new(),
            done,
            sender,
        }
    }

    /// Hands an item to a thread.
    pub(super) fn start(&mut self, item: T, task: impl FnOnce(&mut T) + Send + 'static) {
        let idle = self.threads.iter().position(|worker| worker.busy.is_none());
        let number = idle.unwrap_or_else(|| self.spawn());
        let worker = &mut self.threads[number];
        worker.busy = Some(Instant::now());
        // A child that is forked meanwhile would wait for it for ever.
        let working = fork::work_elsewhere().ok();
        let task: Task<T> = Box::new(move |item| {
            let _working = working;
            task(item);
        });
        if let Err(unsent) = worker.tasks.send((item, task)) {
            // There is no thread for it.
            let (item, task) = unsent.0;
            let _ = self.sender.send(work(number, item, task));
        }
    }

    fn spawn(&mut self) -> usize {
        let (tasks, received) = channel::<(T, Task<T>)>();
        let (number, sender) = (self.threads.len(), self.sender.clone());
        let thread = std::thread::Builder::new().name("specdec-format".into());
        // Without a thread, the task is done by the one that hands it over.
        drop(thread.spawn(move || {
            threads::yield_to_others();
            for (item, task) in received {
                if sender.send(work(number, item, task)).is_err() {
                    return;
                }
            }
        }));
        self.threads.push(Worker { tasks, busy: None });
        number
    }

    /// The items that are done: waits for each of them until it has taken so long.
    pub(super) fn done_within(&mut self, patience: Duration) -> Vec<Done<T>> {
        let mut done = Vec::new();
        while let Some(latest) = self.threads.iter().filter_map(|worker| worker.busy).max() {
            let left = patience.saturating_sub(latest.elapsed());
            match self.done.recv_timeout(left) {
                Ok(one) => done.push(self.returned(one)),
                Err(_) => break,
            }
        }
        done
    }

    /// The next item that is done, if there is one in time.
    pub(super) fn next_within(&mut self, limit: Duration) -> Option<Done<T>> {
        let done = self.done.recv_timeout(limit).ok()?;
        Some(self.returned(done))
    }

    fn returned(&mut self, done: Done<T>) -> Done<T> {
        self.threads[done.worker].busy = None;
        done
    }
}

fn work<T>(worker: usize, mut item: T, task: Task<T>) -> Done<T> {
    let caught = panics::catch(|| task(&mut item)).err();
    Done {
        worker,
        item,
        panic: caught.map(|Caught(panic)| panic),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn items_come_back_with_what_was_done() {
        let mut workers = Workers::new();
        for number in 0..3 {
            workers.start(vec![number], move |item: &mut Vec<i32>| {
                item.push(10 * number);
            });
        }
        let mut done: Vec<Vec<i32>> = workers
            .done_within(LONG)
            .into_iter()
            .map(|one| one.item)
            .collect();
        done.sort_unstable();
        assert_eq!(done, [vec![0, 0], vec![1, 10], vec![2, 20]]);
        assert!(workers.done_within(LONG).is_empty());
    }

    #[test]
    fn a_task_that_takes_long_is_not_waited_for() {
        let (finish, finished) = sync_channel::<()>(0);
        let mut workers = Workers::new();
        workers.start("long", move |_| _ = finished.recv());
        assert!(workers.done_within(Duration::from_millis(1)).is_empty());
        workers.start("short", |item| *item = "done");
        let done = workers.next_within(LONG).unwrap();
        assert_eq!(done.item, "done");
        assert!(workers.done_within(Duration::ZERO).is_empty());
        drop(finish);
        assert_eq!(workers.next_within(LONG).unwrap().item, "long");
    }

    #[test]
    fn a_task_that_panics_returns_its_item() {
        let mut workers = Workers::new();
        workers.start(7, |_| panic!("on purpose"));
        let done = workers.done_within(LONG);
        assert_eq!(done[0].item, 7);
        assert!(done[0].panic.as_ref().unwrap().contains("on purpose"));
        workers.start(8, |item| *item += 1);
        assert_eq!(workers.done_within(LONG)[0].item, 9);
    }
}
