//! What an audit finds.

use serde::Serialize;

use super::source::{Identity, SourceReport};
use super::verdict::Verdict;

/// Whether speculation is lossless, and the tests of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditReport {
    /// Whether something was tested and every test passed. It vouches only for what was tested: see `verdict`.
    pub lossless: bool,
    /// Whether greedy texts are the target's own; `None` if that was not tested.
    pub greedy: Option<bool>,
    /// Whether sampled texts with a seed are the target's own; `None` if that was not tested.
    pub seeded: Option<bool>,
    /// Whether sampled tokens follow the target's distribution; `None` if that was not tested.
    pub distribution: Option<bool>,
    /// The result in words, with what was not tested.
    pub verdict: Verdict,
    /// Whether the target computes the same logits for rows together and one by one.
    pub rows: BatchInvariance,
    /// Each draft source that was tested.
    pub sources: Vec<SourceReport>,
}

/// Batch invariance: the logits of several rows in one forward pass against those of one row per pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BatchInvariance {
    /// Rows that were compared.
    pub rows: usize,
    /// Whether their logits are bit-identical.
    pub identical: bool,
    /// The largest difference between two logits.
    pub largest_difference: f64,
    /// The largest finite logit, by its absolute value.
    pub largest_logit: f64,
}

/// Differences beyond this share of the largest logit are not rounding, even in 16 bits.
const MAX_ROUNDING: f64 = 0.01;

/// Differences between logits accumulate with the cache that they are computed from: up to this multiple of the largest
/// measured one may flip a choice.
const ROUNDING_FACTOR: f64 = 4.0;

impl BatchInvariance {
    /// How close two logits must be for rounding to flip the choice between them.
    pub(super) fn tolerance(&self) -> f64 {
        let rounding = self.largest_difference <= MAX_ROUNDING * self.largest_logit;
        if rounding {
            ROUNDING_FACTOR * self.largest_difference
        } else {
            0.0
        }
    }
}

impl AuditReport {
    /// What these tests found.
    pub(super) fn new(rows: BatchInvariance, sources: Vec<SourceReport>) -> Self {
        let greedy = promise(sources.iter().map(|source| source.greedy.holds()));
        let seeded = sources.iter().filter_map(|source| source.seeded.as_ref());
        let seeded = promise(seeded.map(Identity::holds));
        let tests = sources.iter().flat_map(|source| &source.distributions);
        let distribution = promise(tests.map(|test| test.uniformity.holds));
        Self {
            lossless: promise([greedy, seeded, distribution].into_iter()) == Some(true),
            greedy,
            seeded,
            distribution,
            verdict: Verdict::of(&sources),
            rows,
            sources,
        }
    }
}

/// Whether what was tested held; `None` if nothing was tested.
fn promise(tests: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    tests.flatten().reduce(|all, holds| all && holds)
}
