//! How often candidates turn out to be the target's token, by drafter, feature and rank.
//!
//! A retrieval drafter's candidates are compared with each token that the target generates, drafted or not. So the rates
//! are not biased towards what was drafted, and nothing has to be drafted to measure them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::settings::DraftKind;
use crate::speculation::Candidate;
use crate::speculation::candidate::MAX_FEATURES;

/// The weight of other requests' statistics, in observations of the request's own. (Replays: the best of 3 to 48; with 3 0.8 %
/// slower, with 48 0.4 %.)
const SHARED_WEIGHT: f64 = 12.0;

/// Beyond this number of observations, older ones decay, since texts change. (Replays: with 16 to unlimited ones of the request
/// at most 0.2 % slower; with 256 shared ones 0.2 % slower, with 1024 to unlimited ones equal.)
const REQUEST_MEMORY: f64 = 64.0;
const SHARED_MEMORY: f64 = 4096.0;

/// The weight of a drafter's prior, in observations. (Replays: the best of 1 to 32, the others at most 0.3 % slower.)
const PRIOR_WEIGHT: f64 = 8.0;

/// A candidate's rank among the candidates for its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Any of the ranks.
    Any,
    /// The most probable, from one drafter.
    First,
    /// The most probable, from several drafters.
    Agreed,
    /// One of the others.
    Later,
    /// The token that a drafter would draft at a position, before it is drafted.
    Undrafted,
}

impl Rank {
    const COUNT: usize = Self::Undrafted as usize + 1;

    /// The prior of this rank, given the prior of any candidate.
    fn prior(self, any: f64) -> f64 {
        match self {
            Self::Any | Self::Undrafted => any,
            Self::First => 0.9 * any,
            Self::Agreed => any + 0.2 * (1.0 - any),
            Self::Later => 0.5 * any,
        }
    }
}

/// Observations of one kind of candidate.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    seen: f64,
    right: f64,
}

/// Those of each drafter, rank and feature.
#[derive(Debug, Clone)]
struct Counts(Box<[Count]>);

impl Default for Counts {
    fn default() -> Self {
        let kinds = DraftKind::MOST * Rank::COUNT * MAX_FEATURES;
        Self(vec![Count::default(); kinds].into())
    }
}

impl Counts {
    fn index(candidate: Candidate, rank: Rank) -> usize {
        let feature = usize::from(candidate.feature).min(MAX_FEATURES - 1);
        let kind = candidate.source.index() * Rank::COUNT + rank as usize;
        kind * MAX_FEATURES + feature
    }
}

/// The observations of all requests of a decoder; greedy and sampled ones are separate, since sampled text repeats earlier
/// text less often.
#[derive(Debug, Clone, Default)]
pub struct SharedAcceptance {
    greedy: Arc<Mutex<Counts>>,
    sampled: Arc<Mutex<Counts>>,
}

/// A request's observations, on top of those of others.
#[derive(Debug, Clone)]
pub struct Acceptance {
    own: Counts,
    shared: Arc<Mutex<Counts>>,
}

impl SharedAcceptance {
    /// An independent copy.
    pub(super) fn apart(&self) -> Self {
        let copy = |table: &Arc<Mutex<Counts>>| {
            let table = table.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::new(Mutex::new(table.clone()))
        };
        Self {
            greedy: copy(&self.greedy),
            sampled: copy(&self.sampled),
        }
    }
}

impl Acceptance {
    /// Starts without observations of its own.
    pub fn new(shared: &SharedAcceptance, greedy: bool) -> Self {
        let shared = if greedy {
            &shared.greedy
        } else {
            &shared.sampled
        };
        Self {
            own: Counts::default(),
            shared: Arc::clone(shared),
        }
    }

    /// Locks the observations for a part of a step; other requests wait until the guard is dropped.
    pub fn lock(&mut self) -> Observations<'_> {
        Observations {
            own: &mut self.own,
            shared: self.shared.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// The locked observations of a request and of others.
pub struct Observations<'a> {
    own: &'a mut Counts,
    shared: MutexGuard<'a, Counts>,
}

impl Observations<'_> {
    /// The probability that a candidate is the target's token, if all before it are.
    pub fn rate(&self, candidate: Candidate, rank: Rank) -> f64 {
        let prior = rank.prior(candidate.prior);
        let kind = Counts::index(candidate, rank);
        let (own, shared) = (self.own.0[kind], self.shared.0[kind]);
        let others = (shared.right + PRIOR_WEIGHT * prior) / (shared.seen + PRIOR_WEIGHT);
        (own.right + SHARED_WEIGHT * others) / (own.seen + SHARED_WEIGHT)
    }

    /// Observes whether a candidate was the target's token.
    pub fn observe(&mut self, candidate: Candidate, rank: Rank, right: bool) {
        let kind = Counts::index(candidate, rank);
        self.own.0[kind].count(right, REQUEST_MEMORY);
        self.shared.0[kind].count(right, SHARED_MEMORY);
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

    fn candidate(feature: u8) -> Candidate {
        Candidate {
            token: 1,
            source: DraftKind::NGRAM,
            feature,
            prior: 0.4,
        }
    }

    #[test]
    fn kinds_are_counted_separately() {
        let mut acceptance = Acceptance::new(&SharedAcceptance::default(), true);
        let mut acceptance = acceptance.lock();
        for _ in 0..50 {
            acceptance.observe(candidate(3), Rank::First, true);
            acceptance.observe(candidate(4), Rank::First, false);
        }
        assert!(acceptance.rate(candidate(3), Rank::First) > 0.9);
        assert!(acceptance.rate(candidate(4), Rank::First) < 0.1);
        for (feature, rank) in [(5, Rank::First), (3, Rank::Later)] {
            assert!((acceptance.rate(candidate(feature), rank) - rank.prior(0.4)).abs() < 1e-12);
        }
    }

    #[test]
    fn a_request_starts_from_the_observations_of_others_and_soon_outweighs_them() {
        let shared = SharedAcceptance::default();
        let mut first = Acceptance::new(&shared, true);
        (0..200).for_each(|_| first.lock().observe(candidate(1), Rank::First, true));
        let mut second = Acceptance::new(&shared, true);
        assert!(second.lock().rate(candidate(1), Rank::First) > 0.95);
        (0..20).for_each(|_| second.lock().observe(candidate(1), Rank::First, false));
        assert!(second.lock().rate(candidate(1), Rank::First) < 0.4);
        let mut sampled = Acceptance::new(&shared, false);
        let unobserved = sampled.lock().rate(candidate(1), Rank::Any);
        assert!((unobserved - 0.4).abs() < 1e-12);
    }
}
