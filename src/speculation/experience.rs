//! What a decoder's requests have learned, and the next ones begin with.

use super::acceptance::SharedAcceptance;
use super::cost::Costs;
use super::draft::{Successors, Table};

/// Shared by all requests of a decoder; clones share it too. It changes how fast texts are written, never what they are.
#[derive(Debug, Clone, Default)]
pub struct Experience {
    /// What passes and drafts cost.
    pub costs: Costs,
    /// How often each source's candidates come true.
    pub acceptance: SharedAcceptance,
    /// What was likely behind each token.
    pub successors: Successors,
    /// What followed the last few tokens.
    pub table: Table,
}

impl Experience {
    /// A copy that goes its own way; the machine's costs, which don't hang on texts, stay shared.
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
