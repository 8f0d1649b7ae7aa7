//! Which requests share cached prefixes and what drafts learn from texts: those with the same API key and the same
//! `cache_salt`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::decoder::SpeculativeDecoder;
use crate::engine::Scope;

/// The most scopes whose drafting statistics are kept.
const MAX_SCOPES: usize = 64;

/// Who sent a request, as far as that matters to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// The digest of the API key; `None` where the server has none, or where all keys share.
    key: Option<[u8; 32]>,
}

impl Client {
    /// The client with a key of this digest.
    pub(super) fn with_key(digest: [u8; 32]) -> Self {
        Self { key: Some(digest) }
    }

    fn scope(self, salt: Option<&str>) -> Scope {
        let key = self.key.as_ref().map_or(&[][..], |key| key);
        match salt {
            None => Scope::named(&[key]),
            Some(salt) => Scope::named(&[key, salt.as_bytes()]),
        }
    }
}

/// The decoder of each scope; the least recently used ones are forgotten.
pub(super) struct Decoders {
    decoder: SpeculativeDecoder,
    /// The most recently used first.
    scoped: Mutex<VecDeque<(Scope, SpeculativeDecoder)>>,
}

impl Decoders {
    pub(super) fn new(decoder: &SpeculativeDecoder) -> Self {
        Self {
            decoder: decoder.clone(),
            scoped: Mutex::default(),
        }
    }

    /// The decoder for a client's requests with this `cache_salt`.
    pub(super) fn of(&self, client: Client, salt: Option<&str>) -> SpeculativeDecoder {
        let scope = client.scope(salt);
        let mut scoped = self.scoped.lock().unwrap_or_else(PoisonError::into_inner);
        let known = scoped.iter().position(|(known, _)| *known == scope);
        let known = known.and_then(|index| scoped.remove(index));
        let entry = known.unwrap_or_else(|| (scope, self.decoder.in_scope(scope)));
        let decoder = entry.1.clone();
        scoped.truncate(MAX_SCOPES - 1);
        scoped.push_front(entry);
        decoder
    }
}
