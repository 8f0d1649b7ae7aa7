//! Something of which there is only so much, shared by clients: none of them takes all of it.
//!
//! ```text
//! let places = Arc::new(Quota::new(10, 8));
//! let taken = places.take("one", 8)?;  // the others' two are left
//! drop(taken);                         // given back
//! ```

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// There is not enough left.
    OfAll,
    /// The client would have more than one may have.
    OfClient,
}

/// How much there is, and who has how much of it.
pub(crate) struct Quota<C> {
    of_all: usize,
    of_client: usize,
    taken: Mutex<Amounts<C>>,
}

struct Amounts<C> {
    of_all: usize,
    of_clients: HashMap<C, usize>,
}

impl<C: Copy + Eq + Hash> Quota<C> {
    /// So much for all together, and so much of it for one client.
    pub(crate) fn new(of_all: usize, of_client: usize) -> Self {
        let taken = Amounts {
            of_all: 0,
            of_clients: HashMap::new(),
        };
        Self {
            of_all,
            of_client,
            taken: Mutex::new(taken),
        }
    }

    /// How much is taken.
    pub(crate) fn taken(&self) -> usize {
        self.amounts().of_all
    }

    /// How much one client may have.
    pub(crate) fn of_client(&self) -> usize {
        self.of_client
    }

    /// Takes some for a client.
    pub(crate) fn take(self: &Arc<Self>, client: C, amount: usize) -> Result<Taken<C>, Exceeded> {
        let mut taken = Taken {
            quota: self.clone(),
            client,
            amount: 0,
        };
        taken.take_more(amount)?;
        Ok(taken)
    }

    fn amounts(&self) -> MutexGuard<'_, Amounts<C>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client took: given back when this is dropped.
pub(crate) struct Taken<C: Copy + Eq + Hash> {
    quota: Arc<Quota<C>>,
    client: C,
    amount: usize,
}

impl<C: Copy + Eq + Hash> Taken<C> {
    /// Takes more.
    pub(crate) fn take_more(&mut self, amount: usize) -> Result<(), Exceeded> {
        let mut amounts = self.quota.amounts();
        if amount > self.quota.of_all.saturating_sub(amounts.of_all) {
            return Err(Exceeded::OfAll);
        }
        let of_client = amounts.of_clients.get(&self.client).map_or(0, |has| *has);
        if amount > self.quota.of_client.saturating_sub(of_client) {
            return Err(Exceeded::OfClient);
        }
        amounts.of_all += amount;
        amounts.of_clients.insert(self.client, of_client + amount);
        self.amount += amount;
        Ok(())
    }
}

impl<C: Copy + Eq + Hash> Drop for Taken<C> {
    fn drop(&mut self) {
        let mut amounts = self.quota.amounts();
        amounts.of_all -= self.amount;
        if let Some(has) = amounts.of_clients.get_mut(&self.client) {
            *has -= self.amount;
            if *has == 0 {
                amounts.of_clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_leaves_some_to_others() {
        let quota = Arc::new(Quota::new(10, 8));
        let refusal = |client, amount| quota.take(client, amount).err();
        let mut one = quota.take(1, 7).unwrap();
        assert_eq!(refusal(1, 2), Some(Exceeded::OfClient));
        one.take_more(1).unwrap();
        assert_eq!(one.take_more(1), Err(Exceeded::OfClient));
        assert_eq!(refusal(2, 3), Some(Exceeded::OfAll));
        let other = quota.take(2, 2).unwrap();
        assert_eq!((quota.taken(), refusal(3, 1)), (10, Some(Exceeded::OfAll)));
        drop(one);
        assert_eq!((quota.taken(), refusal(1, 8)), (2, None));
        drop(other);
        assert_eq!(quota.taken(), 0);
        assert!(quota.amounts().of_clients.is_empty());
    }
}
