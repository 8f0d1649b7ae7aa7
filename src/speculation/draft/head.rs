//! A head that reads the target's hidden states.

use std::borrow::Cow;
use std::sync::Arc;

use super::sampler::Sampler;
use super::vocabulary::spread;
use super::{Draft, DraftSource};
use crate::error::Result;
use crate::model::{DraftHead, Features, HeadOutput, HeadSequence};

/// Tokens whose hidden states may wait to be read: a head that isn't asked for as long gives up.
const MOST_WAITING: usize = 1024;

/// Drafts by sampling from a head.
///
/// The head's cache holds a place for each token but the first; those of tokens that the target has read with the target's
/// features, and behind them those of the last draft, which are fed again once the target has read them.
pub struct HeadDraft {
    head: Arc<dyn DraftHead>,
    sequence: Box<dyn HeadSequence>,
    sampler: Sampler,
    /// Places that were fed with the target's features.
    fed: usize,
    /// The target's features behind those.
    features: Vec<f32>,
}

impl HeadDraft {
    /// A draft for one request.
    pub fn new(head: &Arc<dyn DraftHead>, sampler: Sampler) -> Result<Self> {
        Ok(Self {
            sequence: head.begin()?,
            head: head.clone(),
            sampler,
            fed: 0,
            features: Vec::new(),
        })
    }

    /// Feeds what the target has read since; `None` where nothing is new.
    fn catch_up(&mut self, text: &[u32]) -> Result<Option<HeadOutput>> {
        self.sequence.truncate(self.fed);
        let width = self.head.width();
        let known = self.features.len() / width.max(1);
        let new = known.min(text.len().saturating_sub(self.fed + 1));
        if new == 0 || new > self.sequence.room() {
            return Ok(None);
        }
        let tokens = &text[self.fed + 1..][..new];
        let features = Features::Target(&self.features[..new * width]);
        let output = self.sequence.extend(tokens, features)?;
        self.features.drain(..new * width);
        self.fed += new;
        Ok(Some(output))
    }

    /// The head's logits for the target's tokens; of those that it lacks minus infinity.
    fn logits<'a>(&self, logits: &'a [f32]) -> Cow<'a, [f32]> {
        let Some(to_target) = self.head.to_target() else {
            return Cow::Borrowed(logits);
        };
        let tokens = to_target.iter().copied().map(Some);
        Cow::Owned(spread(logits, tokens, self.sampler.vocab_size()))
    }
}

impl DraftSource for HeadDraft {
    fn watched(&self) -> &[usize] {
        self.head.watched()
    }

    fn observe(&mut self, hidden: &[f32]) {
        let most = MOST_WAITING * self.head.width();
        if self.features.len() <= most {
            self.features.extend_from_slice(hidden);
        }
    }

    fn read(&mut self, prompt: &[u32]) -> Result<()> {
        self.catch_up(prompt).map(drop)
    }

    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        let mut draft = Draft::default();
        let Some(mut output) = self.catch_up(history)? else {
            return Ok(draft);
        };
        // Behind a place that is missing nothing is right.
        let limit = if self.fed + 1 == history.len() {
            limit
        } else {
            0
        };
        while draft.len() < limit {
            let logits = self.logits(&output.logits);
            let Some(token) = self.sampler.draw(&logits, history, &mut draft)? else {
                break;
            };
            if draft.len() == limit || self.sequence.room() == 0 {
                break;
            }
            let feature = Features::Own(&output.feature);
            output = self.sequence.extend(&[token], feature)?;
        }
        Ok(draft)
    }
}
