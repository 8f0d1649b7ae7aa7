//! A token that may come next, and what is known about it.

use crate::settings::DraftKind;

/// A token that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Who proposes it.
    pub source: DraftKind,
    /// What speaks for it, as its source tells cases apart (the length of a match, say), below
    /// [`MAX_FEATURES`]. How often each comes true is measured.
    pub feature: u8,
    /// How often such candidates come true, before anything is measured.
    pub prior: f64,
}

/// How many features a drafter may tell apart.
pub const MAX_FEATURES: usize = 32;

impl Candidate {
    /// One for which nothing speaks but that its source proposes it.
    pub(super) fn unmarked(token: u32, source: DraftKind) -> Self {
        Self {
            token,
            source,
            feature: 0,
            prior: 0.6,
        }
    }
}
