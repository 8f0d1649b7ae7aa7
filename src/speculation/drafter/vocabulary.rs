//! What the tokens of a draft model are to the target.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::retokenizer::Retokenizer;
use crate::error::{Error, Result};
use crate::text::Tokenizer;

/// A draft model's vocabulary that is not the target's, and the tokens that both have: those that stand for the same bytes.
pub struct OtherVocabulary {
    target: Tokenizer,
    draft: Tokenizer,
    /// By draft token, the target's.
    to_target: Vec<Option<u32>>,
    /// By target token, the draft's.
    to_draft: Vec<Option<u32>>,
}

impl OtherVocabulary {
    /// Compares two vocabularies; fails where they share no token.
    pub fn new(target: &Tokenizer, draft: &Tokenizer) -> Result<Self> {
        let mut to_target = vec![None; draft.vocab_size()];
        let mut to_draft = vec![None; target.vocab_size()];
        let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
        for id in 0..draft.vocab_size() as u32 {
            known.entry(draft.bytes(id)?).or_insert(id);
        }
        // Tokens without text are no continuation of one.
        known.remove(&[][..]);
        // The ends of texts: by their spelling, and those that the tokenizers name themselves.
        let same = |id: &u32| Some((*id, draft.token_id(&target.token(*id)?)?));
        let mut pairs: Vec<(u32, u32)> = target.eos_token_ids().iter().filter_map(same).collect();
        pairs.extend(target.end_token_id().zip(draft.end_token_id()));
        let without_text = pairs.len();
        for id in 0..target.vocab_size() as u32 {
            pairs.extend(known.get(&target.bytes(id)?).map(|draft| (id, *draft)));
        }
        if pairs.len() == without_text {
            let reason = "they share no token: use a draft of the target's family, or \"auto\"";
            return Err(Error::VocabularyMismatch {
                reason: reason.into(),
            });
        }
        for (target, draft) in pairs {
            let places = (
                to_draft.get_mut(target as usize),
                to_target.get_mut(draft as usize),
            );
            if let (Some(to_draft @ None), Some(to_target @ None)) = places {
                (*to_draft, *to_target) = (Some(draft), Some(target));
            }
        }
        Ok(Self {
            target: target.clone(),
            draft: draft.clone(),
            to_target,
            to_draft,
        })
    }

    /// How many tokens both have.
    pub fn shared(&self) -> usize {
        self.to_target.iter().flatten().count()
    }

    /// Whether nearly all of the target's tokens are among them.
    pub fn is_near(&self) -> bool {
        20 * self.shared() >= 19 * self.to_draft.len()
    }

    /// The target's tokenizer.
    pub fn target(&self) -> &Tokenizer {
        &self.target
    }

    /// The draft's tokenizer.
    pub fn draft(&self) -> &Tokenizer {
        &self.draft
    }

    /// A text of the target's in the draft's tokens, empty yet.
    pub fn retokenizer(&self) -> Result<Retokenizer> {
        Retokenizer::new(&self.target, &self.draft)
    }
}

/// Logits at the places of the tokens that they are for, of so many; elsewhere minus infinity.
pub(super) fn spread(
    row: &[f32],
    tokens: impl Iterator<Item = Option<u32>>,
    vocab_size: usize,
) -> Vec<f32> {
    let mut logits = vec![f32::NEG_INFINITY; vocab_size];
    for (logit, token) in row.iter().zip(tokens) {
        if let Some(place) = token.and_then(|token| logits.get_mut(token as usize)) {
            *place = *logit;
        }
    }
    logits
}

/// How a draft model reads the target's tokens, and writes them.
pub enum Vocabulary {
    /// It has the same.
    Same,
    /// It has others, of which it writes those that both have (token-level intersection, 2502.05202).
    Other(Arc<OtherVocabulary>, Retokenizer),
}

impl Vocabulary {
    /// A text of the target's in the draft's tokens; `None` where these have no way to write it.
    pub fn follow<'a>(&'a mut self, text: &'a [u32]) -> Option<&'a [u32]> {
        match self {
            Self::Same => Some(text),
            Self::Other(_, retokenizer) => retokenizer.follow(text),
        }
    }

    /// The draft's logits for the target's tokens, of which there are so many; of those that the draft lacks minus infinity.
    pub fn logits<'a>(&self, row: &'a [f32], vocab_size: usize) -> Cow<'a, [f32]> {
        match self {
            // Rows that only the draft has are padding, which no distribution of the target's knows.
            Self::Same => Cow::Borrowed(&row[..row.len().min(vocab_size)]),
            Self::Other(other, _) => {
                Cow::Owned(spread(row, other.to_target.iter().copied(), vocab_size))
            }
        }
    }

    /// A token that was drawn by such logits, as the draft's.
    pub fn to_draft(&self, token: u32) -> Option<u32> {
        match self {
            Self::Same => Some(token),
            Self::Other(other, _) => other.to_draft.get(token as usize).copied().flatten(),
        }
    }
}
