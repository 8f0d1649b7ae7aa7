//! What an audit finds.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::uniformity::Uniformity;
use super::verdict::Verdict;
use crate::engine::Stats;
use crate::evaluation::runner::add_counts;
use crate::settings::{DraftKind, Verification};

/// Whether speculation is lossless, and the tests of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditReport {
    /// Whether something was tested and every test passed. It vouches for what was tested alone: see `verdict`.
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

/// One draft source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceReport {
    /// The source.
    pub draft: DraftKind,
    /// Greedy texts against those without speculation.
    pub greedy: Identity,
    /// Sampled texts (coupled verification) against those without speculation and the same seeds; `None` where the
    /// settings are greedy, or no samples were asked for.
    pub seeded: Option<Identity>,
    /// Whether sampled tokens follow the target's distribution, for each kind of verification; empty where `seeded` is `None`.
    #[serde(flatten, serialize_with = "with_old_name")]
    pub distributions: Vec<DistributionTest>,
    /// For each position of a draft, from 0, the steps whose draft reached it.
    pub drafted_per_position: Vec<usize>,
    /// For each position of a draft, the steps that accepted its token.
    pub accepted_per_position: Vec<usize>,
}

/// Texts that should be identical.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Identity {
    /// Pairs of texts compared.
    pub texts: usize,
    /// Tokens that were drafted for them; without any, speculation was not tested.
    pub drafted: usize,
    /// The pairs that differ.
    pub divergences: Vec<Divergence>,
}

/// Where two texts that should be identical diverge.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// Index of the prompt.
    pub prompt: usize,
    /// The seed; `None` for greedy decoding.
    pub seed: Option<u64>,
    /// Number of generated tokens before the divergence.
    pub position: usize,
    /// The next token without speculation; `None` if the text ends.
    pub plain: Option<u32>,
    /// The next token with speculation; `None` if the text ends.
    pub speculative: Option<u32>,
    /// By how much the target prefers the one to the other, in logits divided by the temperature and with the seed's noise;
    /// `None` if one of them has probability 0.
    pub margin: Option<f64>,
    /// Whether rounding explains it: the target is not batch invariant, and the margin is within its rounding differences.
    pub by_rounding: bool,
}

/// A test of whether tokens follow the target's distribution.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DistributionTest {
    /// How drafts were verified.
    pub verification: Verification,
    /// Tokens that were drafted for the texts; without any, speculation was not tested.
    pub drafted: usize,
    /// The test.
    #[serde(flatten)]
    pub uniformity: Uniformity,
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

impl DistributionTest {
    /// The test of texts for which so many tokens were drafted.
    pub(super) fn new(verification: Verification, drafted: usize, uniformity: Uniformity) -> Self {
        let untested = drafted == 0 && uniformity.holds == Some(true);
        Self {
            verification,
            drafted,
            uniformity: match untested {
                true => Uniformity {
                    holds: None,
                    detectable: None,
                    ..uniformity
                },
                false => uniformity,
            },
        }
    }
}

impl Identity {
    /// Adds another pair of texts, for which so many tokens were drafted.
    pub(super) fn count(&mut self, drafted: usize, divergence: Option<Divergence>) {
        self.texts += 1;
        self.drafted += drafted;
        self.divergences.extend(divergence);
    }

    /// Pairs that are identical.
    pub fn identical(&self) -> usize {
        self.texts - self.divergences.len()
    }

    /// Whether all pairs are identical up to rounding; `None` if nothing was drafted that could have changed them.
    pub(super) fn holds(&self) -> Option<bool> {
        let mut divergences = self.divergences.iter();
        match divergences.all(|divergence| divergence.by_rounding) {
            true if self.drafted == 0 => None,
            holds => Some(holds),
        }
    }
}

impl SourceReport {
    /// An empty report.
    pub(super) fn new(draft: DraftKind) -> Self {
        Self {
            draft,
            greedy: Identity::default(),
            seeded: None,
            distributions: Vec::new(),
            drafted_per_position: Vec::new(),
            accepted_per_position: Vec::new(),
        }
    }

    /// Adds a text's drafts to the counts.
    pub(super) fn count_drafts(&mut self, stats: &Stats) {
        add_counts(&mut self.drafted_per_position, &stats.drafted_per_position);
        add_counts(
            &mut self.accepted_per_position,
            &stats.accepted_per_position,
        );
    }

    /// The old name of [`Self::distributions`].
    #[deprecated(note = "use the field `distributions`")]
    pub fn laws(&self) -> &[DistributionTest] {
        &self.distributions
    }
}

/// Serializes under the name and, for one more release, under the old one.
fn with_old_name<S: Serializer>(
    tests: &[DistributionTest],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("distributions", tests)?;
    map.serialize_entry("laws", tests)?;
    map.end()
}
