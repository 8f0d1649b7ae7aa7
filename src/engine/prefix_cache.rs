//! KV caches of earlier requests, for later ones that start with the same tokens.

use super::scope::Scope;
use crate::model::TokenSequence;

/// A shorter prefix is not worth a copy: its tokens are prefilled again.
pub(super) const MIN_PREFIX: usize = 16;

/// The most entries that are kept.
const MAX_ENTRIES: usize = 256;

/// Tokens that the target has processed, with their cache; the least recently used entry first.
#[derive(Default)]
pub(super) struct PrefixCache(Vec<Entry>);

struct Entry {
    /// Whose requests may use it.
    scope: Scope,
    tokens: Vec<u32>,
    cache: TokenSequence,
}

impl PrefixCache {
    /// Tokens that are held. A prefix that two entries share is counted twice, although its memory is shared.
    pub(super) fn tokens(&self) -> usize {
        self.0.iter().map(|entry| entry.cache.len()).sum()
    }

    /// Takes the cache of a request's tokens; entries that are prefixes of it go.
    pub(super) fn insert(&mut self, scope: Scope, tokens: &[u32], cache: TokenSequence) {
        let tokens = &tokens[..cache.len()];
        let known = |entry: &Entry| entry.scope == scope && entry.tokens.starts_with(tokens);
        if tokens.len() < MIN_PREFIX || self.0.iter().any(known) {
            return;
        }
        self.0
            .retain(|entry| entry.scope != scope || !tokens.starts_with(&entry.tokens));
        if self.0.len() == MAX_ENTRIES {
            self.evict();
        }
        self.0.push(Entry {
            scope,
            tokens: tokens.to_vec(),
            cache,
        });
    }

    /// Drops the least recently used entry; `false` if there is none.
    pub(super) fn evict(&mut self) -> bool {
        if self.0.is_empty() {
            return false;
        }
        self.0.remove(0);
        true
    }

    /// How many of a prompt's first tokens an entry holds; 0 where that is not worth a copy.
    pub(super) fn find(&self, scope: Scope, prompt: &[u32]) -> usize {
        self.longest(scope, prompt).map_or(0, |(_, tokens)| tokens)
    }

    /// A copy of the entry that shares the most first tokens with a prompt; the entry counts as used now.
    pub(super) fn fork(&mut self, scope: Scope, prompt: &[u32]) -> Option<TokenSequence> {
        let (index, tokens) = self.longest(scope, prompt)?;
        let entry = self.0.remove(index);
        let copy = fork(&entry.cache, tokens);
        self.0.push(entry);
        copy
    }

    fn longest(&self, scope: Scope, prompt: &[u32]) -> Option<(usize, usize)> {
        let tokens = to_prefill(prompt);
        let entries = self.0.iter().enumerate();
        let own = entries.filter(|(_, entry)| entry.scope == scope);
        let all = own.map(|(index, entry)| (index, shared(&entry.tokens, tokens)));
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

/// How many first tokens two texts share.
pub(super) fn shared(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}
