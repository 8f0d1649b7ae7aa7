//! Maps between the tokens of a draft model and those of the target.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::cut_vocabulary::CutVocabulary;
use super::retokenizer::Retokenizer;
use crate::backend::OutputTiles;
use crate::error::{Error, Result};
use crate::text::Tokenizer;

/// A draft model's vocabulary that differs from the target's, and the tokens that both share: those that stand for the same
/// bytes.
pub struct OtherVocabulary {
    target: Tokenizer,
    draft: Tokenizer,
    /// The target's token for each draft token.
    to_target: Vec<Option<u32>>,
    /// The draft's token for each target token.
    to_draft: Vec<Option<u32>>,
}

impl OtherVocabulary {
    /// Compares two vocabularies; fails if they share no token.
    pub fn new(target: &Tokenizer, draft: &Tokenizer) -> Result<Self> {
        let mut to_target = vec![None; draft.vocab_size()];
        let mut to_draft = vec![None; target.vocab_size()];
        let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
        for id in 0..draft.vocab_size() as u32 {
            known.entry(draft.bytes(id)?).or_insert(id);
        }
        // Tokens without text have no bytes to compare.
        known.remove(&[][..]);
        // EOS tokens match by their spelling, or as the EOS of both tokenizers' settings.
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
            let entries = (
                to_draft.get_mut(target as usize),
                to_target.get_mut(draft as usize),
            );
            if let (Some(to_draft @ None), Some(to_target @ None)) = entries {
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

    /// The number of shared tokens.
    pub fn shared(&self) -> usize {
        self.to_target.iter().flatten().count()
    }

    /// Whether nearly all of the target's tokens are shared.
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

    /// Translates one of the target's texts into the draft's tokens.
    pub fn retokenizer(&self) -> Result<Retokenizer> {
        Retokenizer::new(&self.target, &self.draft)
    }
}

/// Scatters logits to the indices of their tokens, in a vocabulary of `vocab_size`; all others are negative infinity.
pub(super) fn scatter(
    row: &[f32],
    tokens: impl Iterator<Item = Option<u32>>,
    vocab_size: usize,
) -> Vec<f32> {
    let mut logits = vec![f32::NEG_INFINITY; vocab_size];
    for (logit, token) in row.iter().zip(tokens) {
        if let Some(target) = token.and_then(|token| logits.get_mut(token as usize)) {
            *target = *logit;
        }
    }
    logits
}

/// How a draft model's vocabulary relates to the target's.
pub enum Vocabulary {
    /// They are the same.
    Same,
    /// They are the same, and the draft chooses among a part of it.
    Cut(CutVocabulary),
    /// They differ, and the draft consists of shared tokens (token-level intersection, 2502.05202).
    Other(Arc<OtherVocabulary>, Retokenizer),
}

impl Vocabulary {
    /// One of the target's texts in the draft's tokens; `None` if they can't encode it.
    pub fn follow<'a>(&'a mut self, text: &'a [u32]) -> Option<&'a [u32]> {
        match self {
            Self::Same => Some(text),
            Self::Cut(cut) => {
                cut.follow(text);
                Some(text)
            }
            Self::Other(_, retokenizer) => retokenizer.follow(text),
        }
    }

    /// The tokens that the draft's logits are wanted of, if not all.
    pub(super) fn among(&self) -> Option<&OutputTiles> {
        match self {
            Self::Cut(cut) => Some(cut.tokens()),
            Self::Same | Self::Other(..) => None,
        }
    }

    /// The draft's logits, of which these are a row, for the target's `vocab_size` tokens; negative infinity for those that the
    /// draft lacks.
    pub fn logits<'a>(&'a mut self, row: &'a [f32], vocab_size: usize) -> Cow<'a, [f32]> {
        match self {
            Self::Cut(cut) => Cow::Borrowed(cut.scatter(row)),
            // Logits beyond the target's vocabulary are padding.
            Self::Same => Cow::Borrowed(&row[..row.len().min(vocab_size)]),
            Self::Other(other, _) => {
                Cow::Owned(scatter(row, other.to_target.iter().copied(), vocab_size))
            }
        }
    }

    /// The draft's token for a token of the target.
    pub fn to_draft(&self, token: u32) -> Option<u32> {
        match self {
            Self::Same | Self::Cut(_) => Some(token),
            Self::Other(other, _) => other.to_draft.get(token as usize).copied().flatten(),
        }
    }
}
