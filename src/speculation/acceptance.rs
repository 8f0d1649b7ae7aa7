//! How often drafted tokens are accepted, by their source and by what speaks for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TokenSource;

/// Evidence is told apart up to this; see [`place`].
const PLACES: usize = 16;

/// How many drafted tokens the experience of other requests weighs, in a request of its own.
const SHARED_WEIGHT: f64 = 6.0;

/// Of more drafted tokens than this, the older count less: texts change.
const REQUEST_MEMORY: f64 = 64.0;
const SHARED_MEMORY: f64 = 4096.0;

/// Before anything is known: so many tokens, of which such a share was accepted.
const PRIOR_WEIGHT: f64 = 2.0;
const PRIOR: f64 = 0.4;

/// Drafted tokens of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    verified: f64,
    accepted: f64,
}

type Table = [[Count; PLACES]; TokenSource::COUNT];

/// What all requests of a decoder learned.
#[derive(Debug, Clone, Default)]
pub struct SharedAcceptance(Arc<Mutex<Table>>);

/// What a request learned, on top of what others did.
#[derive(Debug, Clone)]
pub struct Acceptance {
    own: Table,
    shared: SharedAcceptance,
}

impl SharedAcceptance {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Acceptance {
    /// Nothing of its own yet.
    pub fn new(shared: &SharedAcceptance) -> Self {
        Self {
            own: Table::default(),
            shared: shared.clone(),
        }
    }

    /// The probability that a source's token is accepted, if those before it are.
    pub fn rate(&self, source: TokenSource, evidence: usize) -> f64 {
        let own = self.own[source as usize][place(evidence)];
        let shared = self.shared.table()[source as usize][place(evidence)];
        let others = (shared.accepted + PRIOR_WEIGHT * PRIOR) / (shared.verified + PRIOR_WEIGHT);
        (own.accepted + SHARED_WEIGHT * others) / (own.verified + SHARED_WEIGHT)
    }

    /// Learns from a chain whose tokens have more and more evidence, of which so many were accepted. Those behind the first
    /// rejection were not verified, and say nothing.
    pub fn observe(
        &mut self,
        source: TokenSource,
        evidence: usize,
        drafted: usize,
        accepted: usize,
    ) {
        for position in 0..drafted.min(accepted + 1) {
            let place = place(evidence + position);
            let accepted = position < accepted;
            self.own[source as usize][place].count(accepted, REQUEST_MEMORY);
            self.shared.table()[source as usize][place].count(accepted, SHARED_MEMORY);
        }
    }
}

impl Count {
    fn count(&mut self, accepted: bool, memory: f64) {
        if self.verified >= memory {
            self.verified /= 2.0;
            self.accepted /= 2.0;
        }
        self.verified += 1.0;
        self.accepted += f64::from(u8::from(accepted));
    }
}

/// Which evidence is taken for alike: each by itself up to 8, then wider and wider.
fn place(evidence: usize) -> usize {
    match evidence {
        0..=8 => evidence,
        9..=12 => 9,
        13..=16 => 10,
        17..=24 => 11,
        25..=32 => 12,
        33..=64 => 13,
        65..=128 => 14,
        _ => PLACES - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_behind_a_rejection_say_nothing() {
        let shared = SharedAcceptance::default();
        let mut acceptance = Acceptance::new(&shared);
        let before = acceptance.rate(TokenSource::Ngram, 5);
        for _ in 0..50 {
            acceptance.observe(TokenSource::Ngram, 2, 6, 2);
        }
        assert!(acceptance.rate(TokenSource::Ngram, 3) > 0.9);
        assert!(acceptance.rate(TokenSource::Ngram, 4) < 0.1);
        assert!((acceptance.rate(TokenSource::Ngram, 5) - before).abs() < 1e-12);
        assert!((acceptance.rate(TokenSource::Model, 3) - PRIOR).abs() < 1e-12);
    }

    #[test]
    fn a_request_begins_with_what_others_learned_and_forgets_it_soon() {
        let shared = SharedAcceptance::default();
        let mut first = Acceptance::new(&shared);
        (0..200).for_each(|_| first.observe(TokenSource::Ngram, 1, 1, 1));
        let mut second = Acceptance::new(&shared);
        assert!(second.rate(TokenSource::Ngram, 1) > 0.95);
        (0..20).for_each(|_| second.observe(TokenSource::Ngram, 1, 1, 0));
        assert!(second.rate(TokenSource::Ngram, 1) < 0.25);
    }
}
