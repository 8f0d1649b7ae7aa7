//! Where a head's embeddings of tokens come from.

use std::sync::Arc;

use super::TargetParts;
use crate::backend::{Backend, Linear};
use crate::error::Result;
use crate::model::transformer::embed;
use crate::weights::StoredRows;

/// An embedding.
pub(super) enum Embedding<B: Backend> {
    /// The target's, and its factor.
    Targets(Arc<Linear<B>>, f32),
    /// The head's own, whose rows are read from its file one by one.
    Own(StoredRows),
}

impl<B: Backend> Embedding<B> {
    /// The target's.
    pub(super) fn of_target(target: &TargetParts<'_, B>) -> Self {
        Self::Targets(target.embedding.clone(), target.spec.embedding_scale)
    }

    /// Embeddings of tokens, `[tokens, hidden]`.
    pub(super) fn rows(&self, backend: &B, tokens: &[u32]) -> Result<B::Activations> {
        match self {
            Self::Targets(table, scale) => embed(backend, table, *scale, tokens),
            Self::Own(table) => {
                let [rows, width] = table.shape();
                let mut values = Vec::with_capacity(tokens.len() * width);
                for token in tokens.iter().map(|token| *token as usize) {
                    match token < rows {
                        true => values.extend(table.row(token)?),
                        // Of the rows that fill up the target's vocabulary.
                        false => values.resize(values.len() + width, 0.0),
                    }
                }
                Ok(backend.rows(&values, width)?)
            }
        }
    }
}
