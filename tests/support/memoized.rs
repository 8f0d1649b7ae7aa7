//! A model that computes each prefix once, so that many samples of few outcomes are cheap.

use std::collections::HashMap;

use specdec_rs::{Extend, LanguageModel, Logits, Parents, Result, SequenceId};

/// Caches the logits of another model by their prefix.
pub struct Memoized {
    model: Box<dyn LanguageModel>,
    sequences: HashMap<SequenceId, Sequence>,
    known: HashMap<Vec<u32>, Vec<f32>>,
}

#[derive(Default)]
struct Sequence {
    tokens: Vec<u32>,
    /// For each node of the tree after them, the tokens of the path to it.
    tree: Vec<Vec<u32>>,
}

impl Memoized {
    /// A sequence of the inner model that no outer one uses.
    const SCRATCH: SequenceId = SequenceId(u64::MAX);

    pub fn new(model: Box<dyn LanguageModel>) -> Self {
        Self {
            model,
            sequences: HashMap::new(),
            known: HashMap::new(),
        }
    }

    fn row(&mut self, prefix: &[u32]) -> Result<Vec<f32>> {
        if let Some(row) = self.known.get(prefix) {
            return Ok(row.clone());
        }
        let whole = Extend {
            sequence: Self::SCRATCH,
            tokens: prefix,
            parents: Parents::Chain,
            rows: 1,
        };
        let mut logits = Logits::new(self.vocab_size());
        self.model.extend(&[whole], &mut logits)?;
        let row = logits.into_vec();
        self.model.free(Self::SCRATCH);
        self.known.insert(prefix.to_vec(), row.clone());
        Ok(row)
    }
}

impl LanguageModel for Memoized {
    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn context_length(&self) -> usize {
        self.model.context_length()
    }

    fn max_tree_tokens(&self) -> usize {
        self.model.max_tree_tokens()
    }

    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> Result<()> {
        for extend in batch {
            let mut sequence = self.sequences.remove(&extend.sequence).unwrap_or_default();
            let mut paths: Vec<Vec<u32>> = Vec::new();
            for (index, token) in extend.tokens.iter().enumerate() {
                let parent = match extend.parents {
                    Parents::Chain => index.checked_sub(1),
                    Parents::Tree(parents) => parents[index],
                };
                let above = parent.map_or(&[][..], |parent| &paths[parent]);
                paths.push([above, &[*token]].concat());
            }
            for path in &paths[paths.len() - extend.rows..] {
                logits.push(&self.row(&[&sequence.tokens[..], path].concat())?);
            }
            match extend.parents {
                Parents::Chain => sequence.tokens.extend(extend.tokens),
                Parents::Tree(_) => sequence.tree = paths,
            }
            self.sequences.insert(extend.sequence, sequence);
        }
        Ok(())
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()> {
        if let Some(sequence) = self.sequences.get_mut(&sequence) {
            sequence.tokens.truncate(length);
            sequence.tree.clear();
        }
        Ok(())
    }

    fn accept(&mut self, sequence: SequenceId, accepted: &[usize]) -> Result<()> {
        if let (Some(sequence), Some(last)) = (self.sequences.get_mut(&sequence), accepted.last()) {
            let path = std::mem::take(&mut sequence.tree).swap_remove(*last);
            sequence.tokens.extend(path);
        }
        Ok(())
    }

    fn free(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }
}
