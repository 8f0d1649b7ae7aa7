//! What a decoder's requests have measured about drafting, from which later requests start.

use super::cost::Costs;
use crate::speculation::acceptance::SharedAcceptance;
use crate::speculation::retrieval::{Corpus, Successors, Table};

/// Shared by all requests of a decoder, and by its clones. It changes speed, never text.
#[derive(Debug, Clone, Default)]
pub struct DraftingStatistics {
    /// The costs of passes and drafts.
    pub costs: Costs,
    /// How often each drafter's candidates are the target's token.
    pub acceptance: SharedAcceptance,
    /// The most probable successors of each token.
    pub successors: Successors,
    /// The n-gram table: what followed the last few tokens.
    pub table: Table,
    /// The texts that the operator gave, which no request changes.
    pub corpus: Corpus,
}

impl DraftingStatistics {
    /// For requests that must learn nothing of others' texts: the machine's costs and the table, which learns only on request,
    /// stay shared.
    #[must_use]
    pub fn for_scope(&self) -> Self {
        Self {
            costs: self.costs.clone(),
            table: self.table.clone(),
            corpus: self.corpus.clone(),
            ..Self::default()
        }
    }

    /// An independent copy; the machine's costs, which do not depend on texts, stay shared.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            costs: self.costs.clone(),
            acceptance: self.acceptance.apart(),
            successors: self.successors.apart(),
            table: self.table.apart(),
            corpus: self.corpus.clone(),
        }
    }
}
