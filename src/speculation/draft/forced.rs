//! Tokens that a response format leaves no choice about cost nothing to draft.

use super::{Draft, DraftSource, TokenSource};
use crate::error::Result;
use crate::sampling::{Distribution, Processors};

/// Drafts what the response format forces; where nothing is, another source's tokens, as far as the format allows them.
pub struct ForcedDraft {
    processors: Processors,
    inner: Box<dyn DraftSource>,
}

impl ForcedDraft {
    /// A draft for one request with a response format.
    pub fn new(processors: Processors, inner: Box<dyn DraftSource>) -> Self {
        Self { processors, inner }
    }

    /// Leaves out tokens that can't follow, and what was behind them.
    ///
    /// Only certain ones: to leave out some of those that were drawn from a law would change what follows.
    fn permitted(&mut self, draft: &Draft, history: &[u32]) -> Result<Draft> {
        let mut kept = Draft::default();
        let mut numbers: Vec<Option<usize>> = Vec::with_capacity(draft.len());
        for node in 0..draft.len() {
            let certain = matches!(draft.law(node), Distribution::Point(_));
            let permitted = !certain || self.processors.permits(history, &draft.path(node))?;
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
}

impl DraftSource for ForcedDraft {
    fn read(&mut self, prompt: &[u32]) -> Result<()> {
        self.inner.read(prompt)
    }

    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        let mut draft = Draft::default();
        for token in self.processors.forced(history)?.into_iter().take(limit) {
            draft.push(token, Distribution::Point(token), TokenSource::Grammar);
        }
        if draft.is_empty() {
            let proposed = self.inner.propose(history, limit)?;
            draft = self.permitted(&proposed, history)?;
        }
        Ok(draft)
    }
}
