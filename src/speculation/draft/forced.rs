//! Tokens that a response format leaves no choice about cost nothing to draft.

use super::{Draft, DraftSource, Prospect, TokenSource};
use crate::error::Result;
use crate::sampling::{Distribution, Processors};

/// Drafts what the response format forces.
pub struct ForcedDraft {
    processors: Processors,
}

/// What speaks for tokens that are forced: another spelling of the same text is possible, but rare.
const EVIDENCE: usize = 16;

impl ForcedDraft {
    /// A draft for one request with a response format.
    pub fn new(processors: Processors) -> Self {
        Self { processors }
    }
}

impl DraftSource for ForcedDraft {
    fn prospect(&mut self, history: &[u32]) -> Result<Prospect> {
        Ok(Prospect {
            source: TokenSource::Grammar,
            tokens: self.processors.forced(history)?.len(),
            evidence: EVIDENCE,
        })
    }

    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        let mut draft = Draft::default();
        for token in self.processors.forced(history)?.into_iter().take(limit) {
            draft.push(token, Distribution::Point(token), TokenSource::Grammar);
        }
        Ok(draft)
    }
}

/// Leaves out tokens that a response format forbids, and what was behind them.
///
/// Only certain ones: to leave out some of those that were drawn from a law would change what follows.
pub fn permitted(processors: &mut Processors, draft: &Draft, history: &[u32]) -> Result<Draft> {
    let mut kept = Draft::default();
    let mut numbers: Vec<Option<usize>> = Vec::with_capacity(draft.len());
    for node in 0..draft.len() {
        let certain = matches!(draft.law(node), Distribution::Point(_));
        let permitted = !certain || processors.permits(history, &draft.path(node))?;
        let parent = draft.parents()[node].map(|parent| numbers[parent]);
        numbers.push(match parent {
            Some(None) => None,
            _ if !permitted => None,
            parent => {
                let (token, law) = (draft.tokens()[node], draft.law(node).clone());
                Some(kept.push_child(parent.flatten(), token, law, draft.source(node)))
            }
        });
    }
    Ok(kept)
}
