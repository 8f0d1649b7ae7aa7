//! What an audit finds of one draft source.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::uniformity::Uniformity;
use crate::engine::Stats;
use crate::evaluation::runner::add_counts;
use crate::settings::{DraftKind, Verification};

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
