//! A cut vocabulary: a draft chooses among the most frequent tokens and those of the text (FR-Spec, 2502.14856).
//!
//! The last matrix costs most of a drafted token where vocabularies are large. Tokens that are left out are never drafted; the
//! target still generates them.

use std::sync::Arc;

use crate::backend::OutputTiles;
use crate::text::Tokenizer;

/// The most frequent tokens that drafts choose among.
const FREQUENT: usize = 24_576;

/// The most frequent tokens of a vocabulary; `None` if it is too small for a cut to pay.
///
/// Tokenizers number tokens by their rank: by how early their texts were merged, or by how probable they are. Single
/// characters may come last.
pub fn frequent_tokens(tokenizer: &Tokenizer, vocab_size: usize) -> Option<Arc<OutputTiles>> {
    if vocab_size < 2 * FREQUENT {
        return None;
    }
    let mut tokens = OutputTiles::new(vocab_size);
    (0..FREQUENT).for_each(|token| tokens.add(token));
    let characters = ('!'..='~').chain(['▁']);
    let characters =
        characters.filter_map(|character| tokenizer.token_id(character.encode_utf8(&mut [0; 4])));
    let ends = tokenizer.eos_token_ids().iter().copied();
    for token in characters.chain(ends).chain(tokenizer.end_token_id()) {
        tokens.add(token as usize);
    }
    Some(tokens.into())
}

/// The tokens that one request's drafts choose among.
pub struct CutVocabulary {
    tokens: OutputTiles,
    /// How many of the text's tokens are among them.
    read: usize,
    /// A score for each of the target's tokens; negative infinity for those that are left out.
    scores: Vec<f32>,
}

impl CutVocabulary {
    pub(super) fn new(frequent: &OutputTiles, vocab_size: usize) -> Self {
        Self {
            tokens: frequent.clone(),
            read: 0,
            scores: vec![f32::NEG_INFINITY; vocab_size],
        }
    }

    /// Adds the new tokens of the text.
    pub(super) fn follow(&mut self, text: &[u32]) {
        for token in text.get(self.read..).unwrap_or_default() {
            self.tokens.add(*token as usize);
        }
        self.read = text.len();
    }

    pub(super) fn tokens(&self) -> &OutputTiles {
        &self.tokens
    }

    /// The scores of all of the target's tokens, given those of [`tokens`](Self::tokens).
    pub(super) fn scatter(&mut self, logits: &[f32]) -> &[f32] {
        for (token, logit) in self.tokens.iter().zip(logits) {
            if let Some(score) = self.scores.get_mut(token as usize) {
                *score = *logit;
            }
        }
        &self.scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_the_text_are_among_those_that_are_drafted() {
        let mut frequent = OutputTiles::new(64);
        frequent.add(5);
        let mut cut = CutVocabulary::new(&frequent, 64);
        cut.follow(&[40, 3]);
        cut.follow(&[40, 3, 33]);
        let logits: Vec<f32> = cut.tokens().iter().map(|token| token as f32).collect();
        assert_eq!(logits.len(), 32);
        let scores = cut.scatter(&logits).to_vec();
        let expected = (0..64).map(|token| match token {
            0..16 | 32..48 => token as f32,
            _ => f32::NEG_INFINITY,
        });
        assert_eq!(scores, expected.collect::<Vec<_>>());
    }
}
