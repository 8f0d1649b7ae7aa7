//! Whose requests are, and each one's share of the places: nobody takes all of them while others are active.
//!
//! The places are shared among clients, and those of a client among its calls.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// Whose a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub(super) client: ClientId,
    /// The client's call: all the choices that it asks for belong to it.
    call: u64,
}

/// A client; where it is unknown, each call is a client of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ClientId {
    Known([u8; 32]),
    OfCall(u64),
}

impl Owner {
    /// A new call of a client; `None`: of an unknown one.
    pub fn of_call(client: Option<[u8; 32]>) -> Self {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        Self {
            client: client.map_or(ClientId::OfCall(call), ClientId::Known),
            call,
        }
    }
}

/// Who shares some places, and how many of them each has.
pub(super) struct Shares {
    places: usize,
    running: Vec<Owner>,
    /// The clients that are active, and their calls.
    active: HashMap<ClientId, HashSet<u64>>,
}

impl Shares {
    /// Of those who run, one place each, and of others that are active.
    pub(super) fn new(
        places: usize,
        running: impl Iterator<Item = Owner>,
        others: impl Iterator<Item = Owner>,
    ) -> Self {
        let running = running.collect::<Vec<_>>();
        let mut active: HashMap<_, HashSet<_>> = HashMap::new();
        for owner in running.iter().copied().chain(others) {
            active.entry(owner.client).or_default().insert(owner.call);
        }
        Self {
            places,
            running,
            active,
        }
    }

    /// How many places the client and the call have; `None`: as many as their shares, which are one at least.
    pub(super) fn has_room(&self, owner: Owner) -> Option<(usize, usize)> {
        let of_client = self.running.iter().filter(|one| one.client == owner.client);
        let of_call = of_client.clone().filter(|one| **one == owner).count();
        let of_client = of_client.count();
        let calls = self.active.get(&owner.client).map_or(1, HashSet::len);
        let share_of_client = (self.places / self.active.len().max(1)).max(1);
        let share_of_call = (share_of_client / calls).max(1);
        (of_client < share_of_client && of_call < share_of_call).then_some((of_client, of_call))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_shared_by_clients_and_then_by_calls() {
        let one = Owner::of_call(Some([1; 32]));
        let again = Owner::of_call(Some([1; 32]));
        let other = Owner::of_call(Some([2; 32]));
        let unknown = [Owner::of_call(None), Owner::of_call(None)];
        let running = [one, one, again, other, unknown[0]];
        let shares = |places| Shares::new(places, running.into_iter(), [unknown[1]].into_iter());
        // Four clients share 16 places; two calls the four of the first.
        let has = |owner| shares(16).has_room(owner);
        assert_eq!((has(one), has(again)), (None, Some((3, 1))));
        assert_eq!(has(other), Some((1, 1)));
        assert_eq!(unknown.map(has), [Some((1, 1)), Some((0, 0))]);
        // A share is one at least.
        assert_eq!(
            unknown.map(|owner| shares(1).has_room(owner)),
            [None, Some((0, 0))]
        );
    }

    #[test]
    fn one_client_alone_has_all_places() {
        let (one, again) = (Owner::of_call(Some([1; 32])), Owner::of_call(Some([1; 32])));
        let has = |running: &[Owner], others: &[Owner], owner| {
            let running = running.iter().copied();
            Shares::new(4, running, others.iter().copied()).has_room(owner)
        };
        assert_eq!(has(&[one, one, one], &[], one), Some((3, 3)));
        assert_eq!(has(&[one, one, one], &[again], again), Some((3, 0)));
        assert_eq!(has(&[one, one, one], &[again], one), None);
        assert_eq!(has(&[], &[], one), Some((0, 0)));
    }
}
