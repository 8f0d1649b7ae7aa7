//! A token that may come next, and how likely that is.

use crate::settings::DraftKind;

/// A token that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// The source that proposes it.
    pub source: DraftKind,
    /// A bucket by which the source distinguishes its candidates (the length of a match, say), below [`MAX_FEATURES`].
    /// The acceptance rate is measured per feature.
    pub feature: u8,
    /// The acceptance rate that is assumed before anything is measured.
    pub prior: f64,
}

/// The number of features that a drafter may distinguish.
pub const MAX_FEATURES: usize = 40;

impl Candidate {
    /// A candidate that stands for a source's token at a position, before that is drafted.
    pub(super) fn undrafted(source: DraftKind, position: usize) -> Self {
        Self {
            feature: position.min(MAX_FEATURES - 1) as u8,
            ..Self::featureless(0, source)
        }
    }

    /// A candidate without a feature.
    pub(super) fn featureless(token: u32, source: DraftKind) -> Self {
        Self {
            token,
            source,
            feature: 0,
            prior: 0.6,
        }
    }
}
