//! What a batch must fulfil.

use super::Transformer;
use super::chunks::PerSequence;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::language_model::{Extend, LanguageModel, SequenceId};

impl<B: Backend> Transformer<B> {
    /// Refuses what can't be computed, before anything is changed.
    pub(super) fn check(&self, batch: &[Extend<'_>]) -> Result<()> {
        for extend in batch {
            if let Some(id) = extend
                .tokens
                .iter()
                .find(|id| **id as usize >= self.spec.vocab_size)
            {
                let expected = format!("below the vocabulary's size, {}", self.spec.vocab_size);
                return Err(Error::invalid("token id", id, expected));
            }
            if extend.rows > extend.tokens.len() {
                let expected = format!("at most the {} tokens appended", extend.tokens.len());
                return Err(Error::invalid("rows", extend.rows, expected));
            }
            let layers = self.layers.len();
            if let Some(layer) = extend.hidden.iter().find(|layer| **layer > layers) {
                let expected = format!("at most the number of layers, {layers}");
                return Err(Error::invalid("hidden", layer, expected));
            }
            extend
                .parents
                .check(extend.tokens.len(), self.max_tree_tokens())?;
            let held = self.sequences.get(&extend.sequence);
            if held.is_some_and(|held| !held.tree.is_empty()) {
                let reason = "the sequence ends in a tree: keep one of its paths, or truncate it";
                return Err(Error::Compute(reason.into()));
            }
            let past = held.map_or(0, |held| held.length);
            let tokens = past + extend.tokens.len();
            if tokens > self.spec.context_length {
                return Err(Error::ContextOverflow {
                    tokens,
                    context_length: self.spec.context_length,
                });
            }
        }
        let mut captured = batch
            .iter()
            .map(|extend| extend.hidden)
            .filter(|hidden| !hidden.is_empty());
        if let Some(first) = captured.next()
            && captured.any(|hidden| hidden != first)
        {
            let reason = "a batch asks for hidden states of different layers";
            return Err(Error::Compute(reason.into()));
        }
        let mut names: PerSequence<SequenceId> =
            batch.iter().map(|extend| extend.sequence).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Compute(
                "a batch names the same sequence twice".into(),
            ));
        }
        Ok(())
    }
}
