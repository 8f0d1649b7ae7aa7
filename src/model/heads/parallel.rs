//! Heads that read a token's embedding and a feature, and draft several tokens in one pass (P-EAGLE, 2602.01469).
//!
//! After the text's last token come rows of a mask, each with a feature that was trained for it: they stand for tokens to come.
//! The states of the last token and of the masks give the drafts, and the masks' keys and values are forgotten.

use std::sync::Arc;

use super::sequence::{check_features, no_last_token, run};
use super::steps::{Loaded, Weights};
use super::{DraftHead, HeadSequence};
use crate::backend::{Backend, Mask, OutputTiles};
use crate::error::{Error, Result};
use crate::model::host::read;
use crate::model::info::ModelInfo;

/// The most tokens that wait for the masks, to be read in the same pass.
const MAX_PENDING: usize = 32;

/// A head that drafts several tokens in one pass.
pub(super) struct ParallelHead<B: Backend, W>(Arc<Parallel<B, W>>);

struct Parallel<B: Backend, W> {
    loaded: Loaded<B, W>,
    masks: Masks,
}

/// What stands for tokens to come.
pub(super) struct Masks {
    pub(super) token: u32,
    /// The hidden states in place of the target's.
    pub(super) hidden: Vec<f32>,
    /// How many tokens a pass drafts: one more than there are masks.
    pub(super) drafts: usize,
}

impl<B: Backend, W: Weights<B>> ParallelHead<B, W> {
    /// A head of these weights.
    pub(super) fn new(loaded: Loaded<B, W>, masks: Masks) -> Result<Self> {
        // What the backend can't keep is refused now, not with the first prompt.
        drop(loaded.kv_cache()?);
        Ok(Self(Arc::new(Parallel { loaded, masks })))
    }
}

impl<B: Backend, W: Weights<B> + 'static> DraftHead for ParallelHead<B, W> {
    fn captured_layers(&self) -> &[usize] {
        &self.0.loaded.captured
    }

    fn width(&self) -> usize {
        self.0.loaded.feature_width
    }

    fn to_target(&self) -> Option<&[u32]> {
        self.0.loaded.to_target.as_deref()
    }

    fn tokens_a_pass(&self) -> usize {
        self.0.masks.drafts
    }

    fn begin(&self) -> Result<Box<dyn HeadSequence>> {
        Ok(Box::new(Sequence {
            cache: self.0.loaded.kv_cache()?,
            head: self.0.clone(),
            length: 0,
            pending: Vec::new(),
            features: Vec::new(),
            slots: None,
            drafted: 0,
        }))
    }

    fn info(&self) -> ModelInfo {
        self.0.loaded.info.clone()
    }
}

/// One sequence of a head.
struct Sequence<B: Backend, W> {
    head: Arc<Parallel<B, W>>,
    cache: B::KvCache,
    /// The tokens whose keys and values are in the cache.
    length: usize,
    /// The tokens after those, and their features.
    pending: Vec<u32>,
    features: Vec<f32>,
    /// The states of the last token and of the masks after it, `[drafts, hidden]`.
    slots: Option<B::Activations>,
    /// How many of them have given a token.
    drafted: usize,
}

impl<B: Backend, W: Weights<B>> Sequence<B, W> {
    /// Reads the tokens that wait, and masks after them; returns the states of the last of all these rows.
    fn read_pending(&mut self, masks: usize, states: usize) -> Result<B::Activations> {
        let head = &*self.head;
        let loaded = &head.loaded;
        let own = self.pending.len();
        let mut tokens = std::mem::take(&mut self.pending);
        let mut features = std::mem::take(&mut self.features);
        for _ in 0..masks {
            tokens.push(head.masks.token);
            features.extend_from_slice(&head.masks.hidden);
        }
        check_features(&tokens, &features, loaded.feature_width)?;
        let features = loaded.weights.features(&features, loaded.feature_width)?;
        let (of, rows) = (
            (&*loaded.backend, &loaded.spec),
            (tokens.len(), Mask::Causal),
        );
        let read = run(of, &mut self.cache, self.length, rows, |pass| {
            let all = loaded.weights.forward(&tokens, features, pass)?;
            let last: Vec<usize> = (tokens.len() - states..tokens.len()).collect();
            Ok(pass.backend.select(&all, &last)?)
        })?;
        self.length += own;
        Ok(read)
    }
}

impl<B: Backend, W: Weights<B>> HeadSequence for Sequence<B, W> {
    fn append(&mut self, tokens: &[u32], features: &[f32]) -> Result<()> {
        let width = self.head.loaded.feature_width;
        check_features(tokens, features, width)?;
        (self.slots, self.drafted) = (None, 0);
        self.pending.extend_from_slice(tokens);
        self.features.extend_from_slice(features);
        if self.pending.len() > MAX_PENDING {
            // The last one waits for the masks.
            let last = self.pending.pop();
            let feature = self.features.split_off(self.features.len() - width);
            self.read_pending(0, 1)?;
            self.pending.extend(last);
            self.features = feature;
        }
        Ok(())
    }

    fn draft(&mut self, _token: u32) -> Result<()> {
        self.drafted += 1;
        Ok(())
    }

    fn logits(&mut self, among: Option<&OutputTiles>) -> Result<Vec<f32>> {
        let drafts = self.head.masks.drafts;
        let slots = match self.slots.take() {
            Some(slots) => slots,
            None if self.pending.is_empty() => return Err(no_last_token()),
            None => self.read_pending(drafts - 1, drafts)?,
        };
        let head = self.head.clone();
        let backend = &*head.loaded.backend;
        if self.drafted >= drafts {
            return Err(Error::Compute("a pass has no further slot".into()));
        }
        let state = backend.select(&slots, &[self.drafted])?;
        self.slots = Some(slots);
        let (logits, _) = head.loaded.weights.finish(state, among)?;
        read(backend, logits)
    }

    fn truncate(&mut self, length: usize) {
        let pending = length.saturating_sub(self.length).min(self.pending.len());
        self.pending.truncate(pending);
        self.features
            .truncate(pending * self.head.loaded.feature_width);
        self.length = self.length.min(length);
        (self.slots, self.drafted) = (None, 0);
    }

    fn room(&self) -> usize {
        let drafts = self.head.masks.drafts;
        match self.slots {
            // The last slot has no successor.
            Some(_) => (drafts - 1).saturating_sub(self.drafted),
            None => {
                let used = self.length + self.pending.len() + drafts;
                self.head.loaded.spec.context_length.saturating_sub(used)
            }
        }
    }
}
