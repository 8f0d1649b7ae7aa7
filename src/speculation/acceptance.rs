//! How often candidates come true, by their source and by what speaks for them.
//!
//! A lookup's candidates are compared with every token that the target writes, drafted or not: nothing is censored, and
//! nothing must be drafted to learn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TokenSource;
use super::draft::{Candidate, EVIDENCES};

/// How many candidates the experience of other requests weighs, in a request of its own.
const SHARED_WEIGHT: f64 = 12.0;

/// Of more candidates than this, the older count less: texts change.
const REQUEST_MEMORY: f64 = 64.0;
const SHARED_MEMORY: f64 = 4096.0;

/// How many candidates a source's own first guess weighs.
const PRIOR_WEIGHT: f64 = 8.0;

/// How a candidate stands among the others for its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Whatever the others are.
    Any,
    /// The likeliest, of one source.
    First,
    /// The likeliest, of several sources.
    Agreed,
    /// One of the others.
    Later,
    /// A token that a source would draft at a position, which is all the evidence there is.
    Undrafted,
}

impl Standing {
    const COUNT: usize = Self::Undrafted as usize + 1;

    /// How often a candidate of this standing comes true, before anything is measured, where any does so often.
    fn prior(self, any: f64) -> f64 {
        match self {
            Self::Any | Self::Undrafted => any,
            Self::First => 0.9 * any,
            Self::Agreed => any + 0.2 * (1.0 - any),
            Self::Later => 0.5 * any,
        }
    }
}

/// Candidates of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    seen: f64,
    right: f64,
}

type Table = [[[Count; EVIDENCES]; Standing::COUNT]; TokenSource::COUNT];

/// What all requests of a decoder learned: those that sample by themselves, since they follow no text as closely.
#[derive(Debug, Clone, Default)]
pub struct SharedAcceptance {
    greedy: Arc<Mutex<Table>>,
    sampled: Arc<Mutex<Table>>,
}

/// What a request learned, on top of what others did.
#[derive(Debug, Clone)]
pub struct Acceptance {
    own: Box<Table>,
    shared: Arc<Mutex<Table>>,
}

impl SharedAcceptance {
    /// A copy that goes its own way.
    pub(super) fn apart(&self) -> Self {
        let copy = |table: &Arc<Mutex<Table>>| {
            let table = table.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::new(Mutex::new(*table))
        };
        Self {
            greedy: copy(&self.greedy),
            sampled: copy(&self.sampled),
        }
    }
}

impl Acceptance {
    /// Nothing of its own yet.
    pub fn new(shared: &SharedAcceptance, greedy: bool) -> Self {
        let shared = if greedy {
            &shared.greedy
        } else {
            &shared.sampled
        };
        Self {
            own: Box::default(),
            shared: Arc::clone(shared),
        }
    }

    /// The probability that a candidate comes true, if all before it do.
    pub fn rate(&self, candidate: Candidate, standing: Standing) -> f64 {
        let prior = standing.prior(candidate.prior);
        let Place(source, standing, evidence) = Place::of(candidate, standing);
        let own = self.own[source][standing][evidence];
        let shared = self.shared()[source][standing][evidence];
        let others = (shared.right + PRIOR_WEIGHT * prior) / (shared.seen + PRIOR_WEIGHT);
        (own.right + SHARED_WEIGHT * others) / (own.seen + SHARED_WEIGHT)
    }

    /// Learns whether a candidate came true.
    pub fn observe(&mut self, candidate: Candidate, standing: Standing, right: bool) {
        let Place(source, standing, evidence) = Place::of(candidate, standing);
        self.own[source][standing][evidence].count(right, REQUEST_MEMORY);
        self.shared()[source][standing][evidence].count(right, SHARED_MEMORY);
    }

    fn shared(&self) -> MutexGuard<'_, Table> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where in a table a candidate's kind is counted.
struct Place(usize, usize, usize);

impl Place {
    fn of(candidate: Candidate, standing: Standing) -> Self {
        let evidence = usize::from(candidate.evidence).min(EVIDENCES - 1);
        Self(candidate.source as usize, standing as usize, evidence)
    }
}

impl Count {
    fn count(&mut self, right: bool, memory: f64) {
        if self.seen >= memory {
            self.seen /= 2.0;
            self.right /= 2.0;
        }
        self.seen += 1.0;
        self.right += f64::from(u8::from(right));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(evidence: u8) -> Candidate {
        Candidate {
            token: 1,
            source: TokenSource::Ngram,
            evidence,
            prior: 0.4,
        }
    }

    #[test]
    fn kinds_are_counted_by_themselves() {
        let mut acceptance = Acceptance::new(&SharedAcceptance::default(), true);
        for _ in 0..50 {
            acceptance.observe(candidate(3), Standing::First, true);
            acceptance.observe(candidate(4), Standing::First, false);
        }
        assert!(acceptance.rate(candidate(3), Standing::First) > 0.9);
        assert!(acceptance.rate(candidate(4), Standing::First) < 0.1);
        for (evidence, standing) in [(5, Standing::First), (3, Standing::Later)] {
            assert!(
                (acceptance.rate(candidate(evidence), standing) - standing.prior(0.4)).abs()
                    < 1e-12
            );
        }
    }

    #[test]
    fn a_request_begins_with_what_others_learned_and_forgets_it_soon() {
        let shared = SharedAcceptance::default();
        let mut first = Acceptance::new(&shared, true);
        (0..200).for_each(|_| first.observe(candidate(1), Standing::First, true));
        let mut second = Acceptance::new(&shared, true);
        assert!(second.rate(candidate(1), Standing::First) > 0.95);
        (0..20).for_each(|_| second.observe(candidate(1), Standing::First, false));
        assert!(second.rate(candidate(1), Standing::First) < 0.4);
        let sampled = Acceptance::new(&shared, false);
        let untold = sampled.rate(candidate(1), Standing::Any);
        assert!((untold - 0.4).abs() < 1e-12);
    }
}
