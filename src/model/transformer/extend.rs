//! What speculation asks of a transformer: extend sequences, roll them back, fork and free them.

use std::sync::Arc;

use super::Transformer;
use super::captured::{Captured, all_captured_tokens};
use super::chunks::{Chunk, PerRow, PerSequence, for_each_step};
use super::forward::Sequences;
use super::sequence::{Keys, Sequence};
use super::stretch::wanted_end;
use crate::backend::{Backend, Batch, MAX_TREE_ROWS, Mask, Segment};
use crate::error::{Error, Result};
use crate::model::heads::{DraftHead, HeadFiles, TargetParts};
use crate::model::info::ModelInfo;
use crate::model::language_model::{Extend, LanguageModel, SequenceId};
use crate::model::logits::Logits;
use crate::model::states::States;
use crate::model::target_model::TargetModel;
use crate::model::tree::{self, Parents};

impl<B: Backend> Transformer<B> {
    /// Computes one step's chunks; appends the wanted logits, and fills in the hidden states.
    fn compute(
        &self,
        batch: &[Extend<'_>],
        captured: &[&[usize]],
        chunks: &[Chunk],
        sequences: &mut [Sequence<B>],
        logits: &mut Logits,
    ) -> Result<()> {
        let mut ids = PerRow::<u32>::new();
        let mut wanted = PerRow::<usize>::new();
        let mut segments = PerSequence::<Segment>::new();
        let mut ancestors = PerRow::<u64>::new();
        for chunk in chunks {
            let extend = &batch[chunk.sequence];
            let first_wanted = extend.tokens.len() - extend.rows;
            let seen = chunk.tokens.clone().filter(|token| *token >= first_wanted);
            wanted.extend(seen.map(|token| ids.len() + token - chunk.tokens.start));
            segments.push(Segment {
                past: sequences[chunk.sequence].length + chunk.tokens.start,
                first_row: ids.len(),
                rows: chunk.tokens.len(),
                mask: match extend.parents {
                    Parents::Chain => Mask::Causal,
                    Parents::Tree(_) => Mask::Tree,
                },
                provisional: chunk.tokens.end.saturating_sub(first_wanted),
                is_stretched: sequences[chunk.sequence].keys == Keys::Stretched,
            });
            if extend.parents != Parents::Chain {
                ancestors.resize(ids.len(), 0);
                ancestors.extend(extend.parents.ancestors());
            }
            ids.extend_from_slice(&extend.tokens[chunk.tokens.clone()]);
        }
        let computed = sequences.iter_mut().enumerate();
        let computed = computed
            .filter(|(index, _)| chunks.iter().any(|chunk| chunk.sequence == *index))
            .map(|(_, sequence)| (&mut sequence.cache, &mut sequence.states));
        let (mut caches, mut states): (PerSequence<&mut B::KvCache>, PerSequence<&mut States>) =
            computed.unzip();
        let step = Batch {
            segments: &segments,
            ancestors: &ancestors,
        };
        let mut sequences = Sequences {
            caches: &mut caches,
            states: &mut states,
        };
        let mut captured = Captured::of(batch, captured, chunks, &segments);
        self.forward(&ids, step, &mut sequences, &wanted, &mut captured, logits)?;
        let (size, hidden) = (self.spec.hidden_size, logits.hidden_mut());
        for (index, states) in captured.iter().enumerate() {
            for (token, values) in states
                .tokens
                .iter()
                .zip(states.values.values().chunks(size))
            {
                hidden[(token * captured.len() + index) * size..][..size].copy_from_slice(values);
            }
        }
        Ok(())
    }
}

impl<B: Backend> LanguageModel for Transformer<B> {
    fn vocab_size(&self) -> usize {
        self.spec.vocab_size
    }

    fn context_length(&self) -> usize {
        self.spec.context_length
    }

    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> Result<()> {
        self.extend_capturing(batch, &[], logits)
    }

    fn reachable_length(&self, sequence: SequenceId, length: usize) -> usize {
        let held = self.sequences.get(&sequence);
        held.map_or(0, |held| held.reachable(length))
    }

    fn checkpoint(&mut self, sequence: SequenceId) {
        if let Some(held) = self.sequences.get_mut(&sequence) {
            held.checkpoint();
        }
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()> {
        match self.sequences.get_mut(&sequence) {
            Some(held) if length <= held.length => held.truncate(length)?,
            None if length == 0 => {}
            held => {
                let held = held.map_or(0, |held| held.length);
                let expected = format!("at most the {held} tokens held");
                return Err(Error::invalid("length", length, expected));
            }
        }
        Ok(())
    }

    fn max_tree_tokens(&self) -> usize {
        MAX_TREE_ROWS.min(self.backend.batch_invariant_rows())
    }

    fn accept(&mut self, sequence: SequenceId, path: &[usize]) -> Result<()> {
        let Some(held) = self.sequences.get_mut(&sequence) else {
            return tree::check_path(&[], path);
        };
        held.check_path(path)?;
        self.backend.accept(&mut held.cache, held.length, path)?;
        held.accept(path)
    }

    fn can_fork(&self) -> bool {
        true
    }

    fn fork(&mut self, sequence: SequenceId, copy: SequenceId, length: usize) -> Result<()> {
        let Some(original) = self.sequences.get(&sequence) else {
            return Ok(());
        };
        let length = length.min(original.length);
        let cache = self.backend.fork(&original.cache, length)?;
        let forked = original.fork(cache, length)?;
        self.sequences.insert(copy, forked);
        Ok(())
    }

    fn free(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    fn info(&self) -> ModelInfo {
        self.info.clone()
    }
}

impl<B: Backend> TargetModel for Transformer<B> {
    fn extend_capturing(
        &mut self,
        batch: &[Extend<'_>],
        captured: &[&[usize]],
        logits: &mut Logits,
    ) -> Result<()> {
        self.check(batch, captured)?;
        for extend in batch {
            if !self.sequences.contains_key(&extend.sequence) {
                let sequence = self.new_sequence()?;
                self.sequences.insert(extend.sequence, sequence);
            }
        }
        let taken = batch
            .iter()
            .filter_map(|extend| self.sequences.remove(&extend.sequence));
        let mut sequences: PerSequence<Sequence<B>> = taken.collect();
        for (extend, sequence) in batch.iter().zip(&mut sequences) {
            // To return to if the extension fails: what is no verification is committed on the way.
            if extend.rows < extend.tokens.len() {
                sequence.checkpoint();
            }
        }
        let layers = captured.iter().map(|layers| layers.len()).max();
        let width = layers.unwrap_or(0) * self.spec.hidden_size;
        logits.begin_hidden(all_captured_tokens(batch, captured), width);
        let beyond = self.spec.stretches_beyond();
        let lengths: PerSequence<usize> =
            sequences.iter().map(|sequence| sequence.length).collect();
        let wanted_end = |sequence: usize, start| wanted_end(beyond, lengths[sequence], start);
        let rows = self.backend.batch_invariant_rows();
        let first_uses = self.backend.first_uses();
        let result = for_each_step(batch, rows, wanted_end, |chunks| {
            for chunk in chunks {
                let sequence = &mut sequences[chunk.sequence];
                self.prepare_keys(&batch[chunk.sequence], chunk, sequence, logits)?;
            }
            self.compute(batch, captured, chunks, &mut sequences, logits)
        });
        if self.backend.first_uses() > first_uses {
            logits.set_used_new_weights();
        }
        for (extend, mut sequence) in batch.iter().zip(sequences) {
            match extend.parents {
                _ if result.is_err() => sequence.recover(),
                Parents::Chain => {
                    sequence.length += extend.tokens.len();
                    if beyond.is_some() {
                        sequence.tokens.extend(extend.tokens);
                    }
                }
                tree @ Parents::Tree(_) => {
                    sequence.tree.extend(tree.ancestors());
                    if beyond.is_some() {
                        sequence.tree_tokens.extend(extend.tokens);
                    }
                }
            }
            self.sequences.insert(extend.sequence, sequence);
        }
        result
    }

    fn stretches_beyond(&self) -> Option<usize> {
        self.spec.stretches_beyond()
    }

    fn with_layers(&self, layers: &[usize]) -> Result<Box<dyn TargetModel>> {
        Ok(Box::new(self.of_layers(layers)?))
    }

    fn again(&self) -> Result<Box<dyn TargetModel>> {
        let layers: Vec<usize> = (0..self.layers.len()).collect();
        self.with_layers(&layers)
    }

    fn draft_head(&self, files: &HeadFiles) -> Result<Arc<dyn DraftHead>> {
        let host = TargetParts {
            spec: &self.spec,
            backend: &self.backend,
            layers: &self.layers,
            embedding: &self.embedding,
            final_norm: &self.final_norm,
            head: &self.head,
        };
        host.load(files)
    }
}
