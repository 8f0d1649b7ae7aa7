//! The open connections.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

/// Connections beyond the limit.
const SPARE: usize = 16;

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Close now.
    Close,
    /// Close once the current answer is written.
    Finish,
}

/// What a connection is doing.
enum State {
    /// It waits for a request since then.
    Idle(Instant),
    /// It receives the body of one since then.
    Receiving(Instant),
    /// It answers one.
    Busy,
    /// It was told to close.
    Closing,
}

struct Entry {
    state: State,
    orders: watch::Sender<Option<Order>>,
}

/// The open connections, by their numbers.
pub(super) struct Table {
    limit: usize,
    open: Mutex<BTreeMap<u64, Entry>>,
    closed: AtomicUsize,
    refused: AtomicUsize,
}

/// What became of connections beyond the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beyond {
    /// Connections whose clients kept the server waiting, closed for them.
    pub(super) closed: usize,
    /// Those that were refused, and requests on spare ones that were.
    pub(super) refused: usize,
}

impl Table {
    /// Without connections; there may be so many.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Mutex::default(),
            closed: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        }
    }

    /// A place for a new connection: a spare one if the others are all busy; `None`: there is none.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.open();
        if self.is_full(&open) {
            self.close_one_of(&mut open);
        }
        let spare = self.is_full(&open);
        if open.len() >= self.limit + SPARE {
            drop(open);
            self.refuse();
            return None;
        }
        let number = open.last_key_value().map_or(0, |(last, _)| last + 1);
        let (sender, orders) = watch::channel(None);
        open.insert(
            number,
            Entry {
                state: State::Idle(Instant::now()),
                orders: sender,
            },
        );
        let busy = Busy {
            table: self.clone(),
            number,
            spare,
        };
        Some(Place { busy, orders })
    }

    /// Closes the connection that has been idle for longest or, if none is idle, has been receiving for longest.
    pub(super) fn close_one(&self) {
        self.close_one_of(&mut self.open());
    }

    /// Whether a connection that was told to close now has not ended yet.
    pub(super) fn is_closing(&self) -> bool {
        let open = self.open();
        open.values()
            .any(|entry| matches!(entry.state, State::Closing))
    }

    /// Counts a refusal.
    fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted since this was last called.
    pub(super) fn take_beyond(&self) -> Beyond {
        Beyond {
            closed: self.closed.swap(0, Ordering::Relaxed),
            refused: self.refused.swap(0, Ordering::Relaxed),
        }
    }

    /// Closes all connections, busy ones after their answers.
    pub(super) fn finish_all(&self) {
        for entry in self.open().values() {
            entry.orders.send_replace(Some(Order::Finish));
        }
    }

    fn close_one_of(&self, open: &mut BTreeMap<u64, Entry>) {
        let waiting = open.values_mut().filter_map(|entry| match entry.state {
            State::Idle(since) => Some(((false, since), entry)),
            State::Receiving(since) => Some(((true, since), entry)),
            State::Busy | State::Closing => None,
        });
        if let Some((_, entry)) = waiting.min_by_key(|(waiting, _)| *waiting) {
            entry.state = State::Closing;
            entry.orders.send_replace(Some(Order::Close));
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_full(&self, open: &BTreeMap<u64, Entry>) -> bool {
        let staying = |entry: &&Entry| !matches!(entry.state, State::Closing);
        open.len() >= self.limit && open.values().filter(staying).count() >= self.limit
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place: given back when it is dropped.
pub(super) struct Place {
    busy: Busy,
    orders: watch::Receiver<Option<Order>>,
}

impl Place {
    /// What tells that it answers a request.
    pub(super) fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// The next order.
    pub(super) async fn order(&mut self) -> Order {
        match self.orders.changed().await {
            Ok(()) => self.orders.borrow().unwrap_or(Order::Finish),
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether it neither receives nor answers a request.
    pub(super) fn is_idle(&self) -> bool {
        let open = self.busy.table.open();
        let entry = open.get(&self.busy.number);
        !entry.is_some_and(|entry| matches!(entry.state, State::Receiving(_) | State::Busy))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.busy.table.open().remove(&self.busy.number);
    }
}

/// Tells when a connection answers a request.
#[derive(Clone)]
pub(super) struct Busy {
    table: Arc<Table>,
    number: u64,
    spare: bool,
}

impl Busy {
    /// Whether the connection is beyond the limit.
    pub(super) fn is_spare(&self) -> bool {
        self.spare
    }

    /// Counts a request that is refused.
    pub(super) fn refuse(&self) {
        self.table.refuse();
    }

    /// A request's headers have arrived, and its body has not.
    pub(super) fn receive(&self) {
        self.change(State::Receiving(Instant::now()));
    }

    /// A request has arrived.
    pub(super) fn answer(&self) {
        self.change(State::Busy);
    }

    /// Its answer is written.
    pub(super) fn end(&self) {
        self.change(State::Idle(Instant::now()));
    }

    fn change(&self, state: State) {
        if let Some(entry) = self.table.open().get_mut(&self.number)
            && !matches!(entry.state, State::Closing)
        {
            entry.state = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(place: &Place) -> Option<Order> {
        *place.orders.borrow()
    }

    #[test]
    fn the_idlest_connection_makes_room() {
        let table = Arc::new(Table::new(2));
        let first = table.place().unwrap();
        let second = table.place().unwrap();
        first.busy().answer();
        first.busy().end();
        let third = table.place().unwrap();
        assert_eq!(order(&first), None);
        assert_eq!(order(&second), Some(Order::Close));
        assert!(!third.busy().is_spare());
        assert!(table.is_closing());
        drop(second);
        assert!(!table.is_closing());
        let (closed, refused) = (1, 0);
        assert_eq!(table.take_beyond(), Beyond { closed, refused });
    }

    #[test]
    fn a_connection_that_receives_makes_room_if_none_is_idle() {
        let table = Arc::new(Table::new(2));
        let [first, second] = [table.place().unwrap(), table.place().unwrap()];
        second.busy().receive();
        first.busy().receive();
        let third = table.place().unwrap();
        assert_eq!((order(&first), order(&second)), (None, Some(Order::Close)));
        drop(second);
        third.busy().receive();
        third.busy().end();
        drop(table.place().unwrap());
        assert_eq!((order(&first), order(&third)), (None, Some(Order::Close)));
    }

    #[test]
    fn busy_connections_stay_and_others_get_spare_places() {
        let table = Arc::new(Table::new(1));
        let busy = table.place().unwrap();
        busy.busy().answer();
        let spare = table.place().unwrap();
        assert!(spare.busy().is_spare());
        assert_eq!((order(&busy), order(&spare)), (None, None));
        // Spare places make room for each other, too.
        assert!(table.place().unwrap().busy().is_spare());
    }

    #[test]
    fn beyond_the_spare_places_there_is_none() {
        let table = Arc::new(Table::new(1));
        let places: Vec<Place> = std::iter::from_fn(|| {
            let place = table.place();
            place.inspect(|place| place.busy().answer())
        })
        .collect();
        assert_eq!(places.len(), 1 + SPARE);
        assert!(table.place().is_none());
        assert_eq!(table.take_beyond().refused, 2);
        drop(places);
        assert!(!table.place().unwrap().busy().is_spare());
    }

    #[test]
    fn places_are_given_back() {
        let table = Arc::new(Table::new(1));
        drop(table.place());
        let place = table.place().unwrap();
        assert!(!place.busy().is_spare());
        table.finish_all();
        assert_eq!(order(&place), Some(Order::Finish));
    }
}
