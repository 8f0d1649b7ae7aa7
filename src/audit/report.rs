//! What an audit finds.

use serde::Serialize;

use super::uniformity::Uniformity;
use crate::engine::Stats;
use crate::settings::{DraftKind, Verification};

/// Whether speculation is lossless, and how that was tested.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditReport {
    /// Whether every promise was kept.
    pub lossless: bool,
    /// Whether the target gives the same logits for rows computed together and one by one.
    pub rows: RowInvariance,
    /// Each draft source by itself.
    pub sources: Vec<SourceReport>,
}

/// Logits of several rows at once against those of one row at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RowInvariance {
    /// Rows that were compared.
    pub rows: usize,
    /// Whether they are the same bits.
    pub identical: bool,
    /// The largest difference between two logits.
    pub largest_difference: f64,
    /// The largest finite logit, by its absolute value.
    pub largest_logit: f64,
}

/// Differences beyond this share of the largest logit are not rounding, even in 16 bits.
const MOST_ROUNDING: f64 = 0.01;

/// Differences between logits add up over the cache that they are computed with: so many times the largest one may turn
/// a choice.
const ROUNDING_FACTOR: f64 = 4.0;

impl RowInvariance {
    /// How close two logits must be for rounding to turn the choice between them.
    pub(super) fn tolerance(&self) -> f64 {
        let rounding = self.largest_difference <= MOST_ROUNDING * self.largest_logit;
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
    /// Whether sampled tokens follow the target's law, by each kind of verification; none likewise.
    pub laws: Vec<LawTest>,
    /// For each position of a draft, from 0, the steps that drafted so far.
    pub drafted_per_position: Vec<usize>,
    /// For each position of a draft, the steps that accepted so far.
    pub accepted_per_position: Vec<usize>,
}

/// Texts that should be identical.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Identity {
    /// Pairs of texts compared.
    pub texts: usize,
    /// Those that differ.
    pub divergences: Vec<Divergence>,
}

/// Where two texts that should be identical part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// Which prompt, from 0.
    pub prompt: usize,
    /// The seed; `None` for greedy decoding.
    pub seed: Option<u64>,
    /// Tokens written before they part.
    pub position: usize,
    /// The next token without speculation; `None` if the text ends.
    pub plain: Option<u32>,
    /// The next token with speculation; `None` if the text ends.
    pub speculative: Option<u32>,
    /// By how much the target prefers the one to the other, in logits over the temperature and with the seed's noise;
    /// `None` where one of them can't be.
    pub margin: Option<f64>,
    /// Whether rounding explains it: the target's rows are not exact, and the margin is within their differences.
    pub by_rounding: bool,
}

/// A test of whether tokens follow the target's law.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LawTest {
    /// How drafts were verified.
    pub verification: Verification,
    /// The test.
    #[serde(flatten)]
    pub uniformity: Uniformity,
}

impl Identity {
    /// Counts another pair of texts.
    pub(super) fn count(&mut self, divergence: Option<Divergence>) {
        self.texts += 1;
        self.divergences.extend(divergence);
    }

    /// Texts that are the same.
    pub fn identical(&self) -> usize {
        self.texts - self.divergences.len()
    }

    /// Whether all are the same, but for rounding.
    pub(super) fn holds(&self) -> bool {
        self.divergences
            .iter()
            .all(|divergence| divergence.by_rounding)
    }
}

impl SourceReport {
    /// Nothing found yet.
    pub(super) fn new(draft: DraftKind) -> Self {
        Self {
            draft,
            greedy: Identity::default(),
            seeded: None,
            laws: Vec::new(),
            drafted_per_position: Vec::new(),
            accepted_per_position: Vec::new(),
        }
    }

    /// Adds a text's drafts to the counts.
    pub(super) fn count_drafts(&mut self, stats: &Stats) {
        for (counts, more) in [
            (&mut self.drafted_per_position, &stats.drafted_per_position),
            (
                &mut self.accepted_per_position,
                &stats.accepted_per_position,
            ),
        ] {
            counts.resize(counts.len().max(more.len()), 0);
            for (count, more) in counts.iter_mut().zip(more) {
                *count += more;
            }
        }
    }

    /// Whether every promise was kept.
    pub(super) fn holds(&self) -> bool {
        let identities = [Some(&self.greedy), self.seeded.as_ref()];
        identities.into_iter().flatten().all(Identity::holds)
            && self.laws.iter().all(|law| law.uniformity.holds)
    }
}
