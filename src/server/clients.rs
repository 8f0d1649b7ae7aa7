//! Which requests share cached prefixes and what drafts learn from texts: those with the same API key and the same
//! `cache_salt`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::decoder::SpeculativeDecoder;
use crate::engine::{Owner, Scope};

/// The most scopes whose drafting statistics are kept.
const MAX_SCOPES: usize = 64;

/// Who sent a request, as far as that matters to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// The digest of the API key, if the server has keys.
    key: Option<[u8; 32]>,
    /// Whether all keys share what was computed.
    shares: bool,
}

impl Client {
    /// The client with a key of this digest.
    pub(super) fn with_key(digest: [u8; 32], shares: bool) -> Self {
        let key = Some(digest);
        Self { key, shares }
    }

    /// The owner of the requests of one call.
    pub(super) fn owner_of_call(self) -> Owner {
        Owner::of_call(self.key)
    }

    fn scope(self, salt: Option<&str>) -> Scope {
        let key = self.key.as_ref().filter(|_| !self.shares);
        let key = key.map_or(&[][..], |key| key);
        match salt {
            None => Scope::named(&[key]),
            Some(salt) => Scope::named(&[key, salt.as_bytes()]),
        }
    }
}

/// The decoder of each scope; the least recently used ones are forgotten.
pub(super) struct Decoders {
    decoder: SpeculativeDecoder,
    /// Whether the decoder's table grows by answers: by those without a salt alone.
    table_grows: bool,
    /// The most recently used first.
    scoped: Mutex<VecDeque<(Scope, SpeculativeDecoder)>>,
}

impl Decoders {
    pub(super) fn new(decoder: &SpeculativeDecoder, table_grows: bool) -> Self {
        Self {
            decoder: decoder.clone(),
            table_grows,
            scoped: Mutex::default(),
        }
    }

    /// The decoder for a client's requests with this `cache_salt`.
    pub(super) fn of(&self, client: Client, salt: Option<&str>) -> SpeculativeDecoder {
        let scope = client.scope(salt);
        let mut scoped = self.scoped.lock().unwrap_or_else(PoisonError::into_inner);
        let known = scoped.iter().position(|(known, _)| *known == scope);
        let known = known.and_then(|index| scoped.remove(index));
        let entry = known.unwrap_or_else(|| {
            let decoder = self.decoder.in_scope(scope);
            match salt {
                Some(_) if self.table_grows => (scope, decoder.without_table()),
                _ => (scope, decoder),
            }
        });
        let decoder = entry.1.clone();
        scoped.truncate(MAX_SCOPES - 1);
        scoped.push_front(entry);
        decoder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_a_scope_by_their_key_and_salt() {
        let scope = |key, shares, salt| Client::with_key([key; 32], shares).scope(salt);
        assert_eq!(scope(1, false, None), scope(1, false, None));
        assert_ne!(scope(1, false, None), scope(2, false, None));
        assert_eq!(scope(1, true, None), scope(2, true, None));
        assert_ne!(scope(1, true, None), scope(1, true, Some("salt")));
        assert_ne!(
            scope(1, false, Some("salt")),
            scope(1, false, Some("pepper"))
        );
        assert_ne!(scope(1, false, Some("salt")), scope(2, false, Some("salt")));
    }
}
