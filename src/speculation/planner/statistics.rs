//! What a decoder's requests have learned about drafting, from which later ones start.

use super::acceptance::SharedAcceptance;
use super::cost::Costs;
use crate::speculation::retrieval::{Successors, Table};

/// Shared by all requests of a decoder, and by its clones. It changes speed, never text.
#[derive(Debug, Clone, Default)]
pub struct DraftingStatistics {
    /// What passes and drafts cost.
    pub costs: Costs,
    /// How often each drafter's candidates are right.
    pub acceptance: SharedAcceptance,
    /// What was likely after each token.
    pub successors: Successors,
    /// What followed the last few tokens.
    pub table: Table,
}

impl DraftingStatistics {
    /// An independent copy; the machine's costs, which do not depend on texts, stay shared.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            costs: self.costs.clone(),
            acceptance: self.acceptance.apart(),
            successors: self.successors.apart(),
            table: self.table.apart(),
        }
    }
}
