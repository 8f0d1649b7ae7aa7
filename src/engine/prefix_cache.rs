//! KV caches of earlier requests, for later ones that start with the same tokens.

use std::sync::Arc;

use super::scope::Scope;
use crate::model::TokenSequence;
use crate::prefix;

/// A shorter prefix is not worth a copy: its tokens are prefilled again.
pub(super) const MIN_PREFIX: usize = 16;

/// The most entries that are kept.
const MAX_ENTRIES: usize = 256;

/// Tokens that the target has processed, with their cache; the least recently used entry first.
pub(super) struct PrefixCache {
    entries: Vec<Entry>,
    /// Tokens of the smallest part in which memory is taken.
    granule: usize,
}

struct Entry {
    /// Whose requests may use it.
    scope: Scope,
    tokens: Vec<u32>,
    cache: Arc<TokenSequence>,
}

/// Entries that are no longer kept. They are dropped once the prefix cache is unlocked: the model, which frees them, may be a
/// user's, and may use the cache.
#[must_use]
#[derive(Default)]
pub(super) struct Evicted(Vec<Arc<TokenSequence>>);

impl PrefixCache {
    /// An empty cache of sequences whose memory is taken in parts of `granule` tokens.
    pub(super) fn new(granule: usize) -> Self {
        let entries = Vec::new();
        Self { entries, granule }
    }

    /// Tokens that the memory of all entries would hold. A prefix that two entries share is counted twice, although its memory is
    /// shared.
    pub(super) fn tokens(&self) -> usize {
        let taken = |entry: &Entry| entry.cache.len().next_multiple_of(self.granule);
        self.entries.iter().map(taken).sum()
    }

    pub(super) fn granule(&self) -> usize {
        self.granule
    }

    /// How many sequences are kept.
    #[cfg(feature = "python")]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes the cache of a request's tokens; entries that are prefixes of it go.
    pub(super) fn insert(
        &mut self,
        scope: Scope,
        tokens: &[u32],
        cache: Arc<TokenSequence>,
        evicted: &mut Evicted,
    ) {
        let tokens = &tokens[..cache.len()];
        let known = |entry: &Entry| entry.scope == scope && entry.tokens.starts_with(tokens);
        if tokens.len() < MIN_PREFIX || self.entries.iter().any(known) {
            return;
        }
        let shorter = |entry: &mut Entry| entry.scope == scope && tokens.starts_with(&entry.tokens);
        let shorter = self
            .entries
            .extract_if(.., shorter)
            .map(|entry| entry.cache);
        evicted.0.extend(shorter);
        if self.entries.len() == MAX_ENTRIES {
            self.evict(evicted);
        }
        self.entries.push(Entry {
            scope,
            tokens: tokens.to_vec(),
            cache,
        });
    }

    /// Evicts the least recently used entry; `false` if there is none.
    pub(super) fn evict(&mut self, evicted: &mut Evicted) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        evicted.0.push(self.entries.remove(0).cache);
        true
    }

    /// How many of a prompt's first tokens an entry holds; 0 where that is not worth a copy.
    pub(super) fn find(&self, scope: Scope, prompt: &[u32]) -> usize {
        self.longest(scope, prompt).map_or(0, |(_, tokens)| tokens)
    }

    /// The entry that shares the most first tokens with a prompt, and how many; it counts as used now.
    pub(super) fn use_longest(
        &mut self,
        scope: Scope,
        prompt: &[u32],
    ) -> Option<(Arc<TokenSequence>, usize)> {
        let (index, tokens) = self.longest(scope, prompt)?;
        self.entries[index..].rotate_left(1);
        self.entries
            .last()
            .map(|entry| (entry.cache.clone(), tokens))
    }

    fn longest(&self, scope: Scope, prompt: &[u32]) -> Option<(usize, usize)> {
        let tokens = to_prefill(prompt);
        let entries = self.entries.iter().enumerate();
        let own = entries.filter(|(_, entry)| entry.scope == scope);
        let all = own.map(|(index, entry)| (index, prefix::shared(&entry.tokens, tokens)));
        let best = all.max_by_key(|(_, shared)| *shared);
        best.filter(|(_, shared)| *shared >= MIN_PREFIX)
    }
}

/// What of a prompt is prefilled: the last token is fed with the first step, for its logits.
pub(super) fn to_prefill(prompt: &[u32]) -> &[u32] {
    &prompt[..prompt.len() - 1]
}

/// A copy of the cache of the first tokens; `None` where the model makes none, or it is not worth it.
pub(super) fn fork(cache: &TokenSequence, tokens: usize) -> Option<TokenSequence> {
    if tokens < MIN_PREFIX {
        return None;
    }
    let copy = cache.fork_at(tokens).ok()?;
    (copy.len() >= MIN_PREFIX).then_some(copy)
}
