//! A model that computes each prefix once: statistics over many samples of few outcomes become cheap.

use std::collections::HashMap;

use specdec_rs::{Extend, LanguageModel, Logits, Parents, Result, SequenceId};

/// The logits of another model, remembered by the tokens that they follow.
pub struct Memoized {
    model: Box<dyn LanguageModel>,
    sequences: HashMap<SequenceId, Vec<u32>>,
    known: HashMap<Vec<u32>, Vec<f32>>,
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

    fn extend(&mut self, batch: &[Extend<'_>], logits: &mut Logits) -> Result<()> {
        for extend in batch {
            let mut tokens = self.sequences.remove(&extend.sequence).unwrap_or_default();
            tokens.extend(extend.tokens);
            for end in tokens.len() - extend.rows + 1..=tokens.len() {
                logits.push(&self.row(&tokens[..end])?);
            }
            self.sequences.insert(extend.sequence, tokens);
        }
        Ok(())
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) -> Result<()> {
        if let Some(tokens) = self.sequences.get_mut(&sequence) {
            tokens.truncate(length);
        }
        Ok(())
    }

    fn free(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }
}
