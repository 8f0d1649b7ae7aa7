//! The rows of a model's vocabulary matrices, token by token: what a head is trained with.

use super::open_model::OpenModel;
use crate::architecture::names::{ModelTensor, NamedWeights};
use crate::error::Result;
use crate::weights::StoredRows;

/// A model's embedding and its output matrix, whose rows are read one by one.
pub struct TokenRows {
    embedding: StoredRows,
    /// `None`: the embedding is the output matrix, too.
    head: Option<StoredRows>,
    embedding_scale: f32,
    logit_scale: f32,
}

impl TokenRows {
    /// Those of opened files.
    pub fn of(opened: &OpenModel) -> Result<Self> {
        let spec = opened.spec()?;
        let (rows, columns) = (spec.vocab_size, spec.hidden_size);
        let weights = NamedWeights::new(
            opened.checkpoint(),
            &spec,
            opened.is_gguf(),
            opened.source(),
        )?;
        let is_tied = match spec.tied_head {
            Some(tied) => tied,
            None => weights
                .optional_matrix(ModelTensor::Head, rows, columns)?
                .is_none(),
        };
        let head = (!is_tied).then(|| weights.table(ModelTensor::Head, rows, columns));
        Ok(Self {
            embedding: weights.table(ModelTensor::Embedding, rows, columns)?,
            head: head.transpose()?,
            embedding_scale: spec.embedding_scale,
            logit_scale: spec.logit_scale,
        })
    }

    /// A token's embedding, as it enters the first layer.
    pub fn embedding(&self, token: u32) -> Result<Vec<f32>> {
        scaled(&self.embedding, token, self.embedding_scale)
    }

    /// What gives a token's logit, by its product with a state after the last norm.
    pub fn output(&self, token: u32) -> Result<Vec<f32>> {
        let table = self.head.as_ref().unwrap_or(&self.embedding);
        scaled(table, token, self.logit_scale)
    }
}

fn scaled(table: &StoredRows, token: u32, factor: f32) -> Result<Vec<f32>> {
    let mut row = table.row(token as usize)?;
    for value in &mut row {
        *value *= factor;
    }
    Ok(row)
}
