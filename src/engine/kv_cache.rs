//! The KV cache as a budget: one for all requests of a model, whichever scheduler runs them, and for the prefixes that are
//! kept for later ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::prefix_cache::{self, Evicted, PrefixCache};
use super::request::Request;
use super::scope::Scope;
use crate::error::{Error, Result};
use crate::model::TokenSequence;

/// Tokens of a cache's smallest page, and of a tree, which lies in the cache during a step.
const PAGE: usize = 64;

/// The KV cache of one model. Clones share it.
#[derive(Clone)]
pub struct KvCacheManager(Arc<Mutex<State>>);

struct State {
    /// Maximum number of tokens of all sequences together; `None`: no limit.
    capacity: Option<usize>,
    /// Maximum number of tokens of prefixes that are kept.
    max_prefix_tokens: usize,
    /// Tokens that running requests may come to need.
    reserved: usize,
    prefixes: PrefixCache,
}

/// Tokens that a running request may come to need; dropping it returns them.
pub(super) struct Reservation {
    manager: KvCacheManager,
    tokens: usize,
}

impl KvCacheManager {
    /// A cache of `capacity` tokens (`None`: no limit), `max_prefix_tokens` of which may hold prefixes of ended requests.
    pub fn new(capacity: Option<usize>, max_prefix_tokens: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            capacity,
            max_prefix_tokens,
            reserved: 0,
            prefixes: PrefixCache::new(1),
        })))
    }

    /// The same, empty, for sequences whose memory is taken in parts of so many tokens.
    #[must_use]
    pub(crate) fn with_granule(self, granule: usize) -> Self {
        self.lock().prefixes = PrefixCache::new(granule);
        self
    }

    /// An empty cache with the same limits.
    #[must_use]
    pub(crate) fn apart(&self) -> Self {
        let state = self.lock();
        Self::new(state.capacity, state.max_prefix_tokens).with_granule(state.prefixes.granule())
    }

    /// An empty cache with the same capacity that keeps no prefixes.
    #[must_use]
    pub(crate) fn without_prefixes(&self) -> Self {
        Self::new(self.lock().capacity, 0)
    }

    /// Lets prefixes take all that running requests leave, and sets another capacity if one is given: for a server, which owns
    /// the machine's memory.
    #[cfg(feature = "server")]
    pub(crate) fn dedicate(&self, capacity: Option<usize>) {
        let mut state = self.lock();
        state.capacity = capacity.or(state.capacity);
        state.max_prefix_tokens = usize::MAX;
    }

    /// Maximum number of tokens of all sequences together; `None`: no limit.
    pub fn capacity(&self) -> Option<usize> {
        self.lock().capacity
    }

    /// Fails for a request that needs more than the whole cache.
    pub fn check(&self, prompt_tokens: usize, max_tokens: usize) -> Result<()> {
        match self.lock().capacity {
            Some(capacity) if pages(max_tokens) > capacity => {
                let expected =
                    format!("prompt and answer to fit the KV cache, {capacity} tokens in all");
                let new_tokens = max_tokens - prompt_tokens.min(max_tokens);
                Err(Error::invalid("max_new_tokens", new_tokens, expected))
            }
            _ => Ok(()),
        }
    }

    /// Tokens that are taken: reserved by running requests, and kept as prefixes.
    pub fn used(&self) -> usize {
        let state = self.lock();
        state.reserved + state.prefixes.tokens()
    }

    /// How many of a prompt's first tokens are kept for its scope.
    pub(super) fn cached_prefix(&self, request: &Request) -> usize {
        self.lock()
            .prefixes
            .find(request.scope(), request.history())
    }

    /// A copy of the longest prefix of a prompt that is kept for its scope.
    pub(super) fn fork_prefix(&self, request: &Request) -> Option<TokenSequence> {
        let (scope, prompt) = (request.scope(), request.history());
        let (cache, tokens) = self.lock().prefixes.use_longest(scope, prompt)?;
        prefix_cache::fork(&cache, tokens)
    }

    /// How many sequences are kept; `None`: the cache is in use.
    #[cfg(feature = "python")]
    pub(crate) fn kept_sequences(&self) -> Option<usize> {
        self.0.try_lock().ok().map(|state| state.prefixes.len())
    }

    /// Reserves what a request may come to need, evicting prefixes to make room; `None`: it does not fit beside the running
    /// ones. `force` reserves in any case.
    pub(super) fn reserve(&self, request: &Request, force: bool) -> Option<Reservation> {
        let tokens = pages(request.max_tokens());
        // Outlives the lock.
        let mut evicted = Evicted::default();
        let mut state = self.lock();
        if !state.has_room(tokens) && !force {
            return None;
        }
        state.reserved += tokens;
        state.evict_surplus(&mut evicted);
        Some(Reservation {
            manager: self.clone(),
            tokens,
        })
    }

    /// Keeps the cache of an ended request's tokens, for later ones of its scope.
    pub(super) fn keep_prefix(&self, scope: Scope, tokens: &[u32], cache: TokenSequence) {
        // Both outlive the lock: they may hold the last reference to a sequence.
        let cache = Arc::new(cache);
        let mut evicted = Evicted::default();
        let mut state = self.lock();
        if cache.can_fork() && state.max_prefix_tokens > 0 {
            state
                .prefixes
                .insert(scope, tokens, cache.clone(), &mut evicted);
            state.evict_surplus(&mut evicted);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether so many tokens more can be reserved, if all prefixes go.
    fn has_room(&self, tokens: usize) -> bool {
        self.capacity
            .is_none_or(|capacity| self.reserved + tokens <= capacity)
    }

    fn evict_surplus(&mut self, evicted: &mut Evicted) {
        let unreserved = self.capacity.unwrap_or(usize::MAX);
        let unreserved = unreserved.saturating_sub(self.reserved);
        let most = unreserved.min(self.max_prefix_tokens);
        while self.prefixes.tokens() > most && self.prefixes.evict(evicted) {}
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.manager.lock().reserved -= self.tokens;
    }
}

/// Tokens in the pages of a sequence, and of a tree after it.
fn pages(tokens: usize) -> usize {
    tokens.next_multiple_of(PAGE) + PAGE
}
