//! Which requests may share what others computed.

use sha2::{Digest, Sha256};

/// Names requests that share cached prefixes and what drafts learn from texts; others neither use these nor can tell by
/// `cached_tokens` what they hold. The default is the scope of requests that name none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scope([u8; 32]);

impl Scope {
    /// The scope that is named by these words, in this order: two lists of words name the same one only if they are equal.
    pub fn named(words: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        for word in words {
            digest.update((word.len() as u64).to_le_bytes());
            digest.update(word);
        }
        Self(digest.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_words_name_different_scopes() {
        let names: [&[&[u8]]; 5] = [&[], &[b""], &[b"ab"], &[b"a", b"b"], &[b"b", b"a"]];
        for (index, name) in names.iter().enumerate() {
            assert_eq!(Scope::named(name), Scope::named(name));
            assert_ne!(Scope::named(name), Scope::default());
            for other in &names[..index] {
                assert_ne!(Scope::named(name), Scope::named(other));
            }
        }
    }
}
