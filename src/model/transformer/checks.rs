//! What a batch must fulfil.

use super::Transformer;
use super::chunks::PerSequence;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::limits;
use crate::model::language_model::{Extend, LanguageModel, SequenceId};

impl<B: Backend> Transformer<B> {
    /// Refuses what can't be computed, before anything is changed.
    pub(super) fn check(&self, batch: &[Extend<'_>], captured: &[&[usize]]) -> Result<()> {
        self.check_captured(captured)?;
        for extend in batch {
            limits::known("token", extend.tokens, self.spec.vocab_size)?;
            if extend.rows > extend.tokens.len() {
                let expected = format!("at most the {} tokens appended", extend.tokens.len());
                return Err(Error::invalid("rows", extend.rows, expected));
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
            limits::fits(past + extend.tokens.len(), self.spec.context_length)?;
            let depths = extend.parents.ancestors().map(u64::count_ones);
            let end = past + depths.max().unwrap_or(0) as usize;
            let beyond = self.spec.stretches_beyond();
            if beyond.is_some_and(|beyond| past < beyond && end > beyond) {
                let reason =
                    "the tree crosses the length at which the model's rotary embeddings change";
                return Err(Error::Compute(reason.into()));
            }
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

    fn check_captured(&self, captured: &[&[usize]]) -> Result<()> {
        let mut wanted = captured.iter().filter(|layers| !layers.is_empty());
        let Some(first) = wanted.next() else {
            return Ok(());
        };
        if wanted.any(|layers| layers != first) {
            let reason = "a batch asks for hidden states of different layers";
            return Err(Error::Compute(reason.into()));
        }
        let layers = self.layers.len();
        match first.iter().find(|layer| **layer > layers) {
            None => Ok(()),
            Some(layer) => {
                let expected = format!("at most the number of layers, {layers}");
                Err(Error::invalid("captured layer", layer, expected))
            }
        }
    }
}
