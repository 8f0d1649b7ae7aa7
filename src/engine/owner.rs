//! Whose a request is: nobody takes all the places.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whose a request is. Of those that wait, the scheduler runs one next whose client has the fewest running, and none has more
/// than its share of the places while others are active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The client, where it is known.
    client: Option<[u8; 32]>,
    /// The client's call: all the choices that it asks for belong to it.
    call: u64,
}

impl Owner {
    /// A new call of a client (`None`: of an unknown one, which counts as a client of its own).
    pub fn of_call(client: Option<[u8; 32]>) -> Self {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        Self { client, call }
    }

    /// How many clients some requests are of.
    pub(super) fn clients(owners: impl Iterator<Item = Self>) -> usize {
        let client = |owner: Self| match owner.client {
            Some(client) => (Some(client), 0),
            None => (None, owner.call),
        };
        owners.map(client).collect::<HashSet<_>>().len()
    }

    /// How many of some requests are of the same client, and how many of the same call.
    pub(super) fn shares(self, others: impl Iterator<Item = Self>) -> (usize, usize) {
        let (mut of_client, mut of_call) = (0, 0);
        for other in others {
            let same_call = other.call == self.call;
            let same_client = self.client.is_some() && other.client == self.client;
            of_client += usize::from(same_client || same_call);
            of_call += usize::from(same_call);
        }
        (of_client, of_call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_with_their_clients() {
        let one = Owner::of_call(Some([1; 32]));
        let again = Owner::of_call(Some([1; 32]));
        let other = Owner::of_call(Some([2; 32]));
        let unknown = [Owner::of_call(None), Owner::of_call(None)];
        let running = [one, one, again, other, unknown[0]];
        let shares = |owner: Owner| owner.shares(running.into_iter());
        assert_eq!((shares(one), shares(again)), ((3, 2), (3, 1)));
        assert_eq!(shares(other), (1, 1));
        assert_eq!(Owner::clients(running.into_iter()), 3);
        assert_eq!([shares(unknown[0]), shares(unknown[1])], [(1, 1), (0, 0)]);
    }
}
