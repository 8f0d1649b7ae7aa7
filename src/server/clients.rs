//! Who sends requests, and which of them share cached prefixes and what drafts learn from texts: those with the same API key
//! and the same `cache_salt`.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::decoder::SpeculativeDecoder;
use crate::engine::{Owner, Scope};

/// The most scopes whose drafting statistics are kept.
const MAX_SCOPES: usize = 64;

/// Who sent a request, as far as that matters to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Client {
    #[default]
    Unknown,
    /// The one with an API key.
    WithKey {
        digest: [u8; 32],
        /// Whether all keys share what was computed.
        shares: bool,
    },
    /// The one at an address, if the server has no keys: of IPv6, a network of 64 bits, as one host may use all of its addresses.
    At(IpAddr),
}

impl Client {
    /// The client at an address.
    pub(super) fn at(address: IpAddr) -> Self {
        Self::At(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }

    /// The owner of the requests of one call.
    pub(super) fn owner_of_call(self) -> Owner {
        Owner::of_call(match self {
            Self::Unknown => None,
            Self::WithKey { digest, .. } => Some(digest),
            Self::At(address) => Some(Sha256::digest(address.to_string()).into()),
        })
    }

    fn scope(self, salt: Option<&str>) -> Scope {
        let key = match &self {
            Self::WithKey {
                digest,
                shares: false,
            } => &digest[..],
            Self::WithKey { shares: true, .. } | Self::At(_) | Self::Unknown => &[],
        };
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
        let scope = |key, shares, salt| {
            let digest = [key; 32];
            Client::WithKey { digest, shares }.scope(salt)
        };
        assert_eq!(scope(1, false, None), scope(1, false, None));
        assert_ne!(scope(1, false, None), scope(2, false, None));
        assert_eq!(scope(1, true, None), scope(2, true, None));
        assert_ne!(scope(1, true, None), scope(1, true, Some("salt")));
        assert_ne!(
            scope(1, false, Some("salt")),
            scope(1, false, Some("pepper"))
        );
        let at = |address: &str| Client::at(address.parse().unwrap());
        assert_eq!(at("192.0.2.1").scope(None), at("192.0.2.2").scope(None));
        assert_ne!(scope(1, false, Some("salt")), scope(2, false, Some("salt")));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let at = |address: &str| Client::at(address.parse().unwrap());
        assert_eq!(at("2001:db8:0:1::1"), at("2001:db8:0:1:ffff::2"));
        assert_ne!(at("2001:db8:0:1::1"), at("2001:db8:0:2::1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("192.0.2.1"), at("::ffff:192.0.2.1"));
    }
}
