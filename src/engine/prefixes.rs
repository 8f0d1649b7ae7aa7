//! Caches of earlier texts, for requests that begin alike.

use crate::model::TokenSequence;

/// Fewer tokens in common are sooner read again.
const FEWEST_SHARED: usize = 16;

/// Most texts that are kept.
const MOST_KEPT: usize = 256;

/// What the target has read of earlier texts, the one that was used last at the end.
#[derive(Default)]
pub struct Prefixes(Vec<Kept>);

struct Kept {
    tokens: Vec<u32>,
    cache: TokenSequence,
}

impl Prefixes {
    /// Tokens that are kept: those that two texts share are counted twice, though their memory is one.
    pub fn tokens(&self) -> usize {
        self.0.iter().map(|kept| kept.cache.len()).sum()
    }

    /// Keeps a text's cache; those of its own beginnings go.
    pub fn keep(&mut self, tokens: &[u32], cache: TokenSequence) {
        let tokens = &tokens[..cache.len()];
        if tokens.len() < FEWEST_SHARED || self.0.iter().any(|kept| kept.tokens.starts_with(tokens))
        {
            return;
        }
        self.0.retain(|kept| !tokens.starts_with(&kept.tokens));
        if self.0.len() == MOST_KEPT {
            self.drop_oldest();
        }
        self.0.push(Kept {
            tokens: tokens.to_vec(),
            cache,
        });
    }

    /// Forgets the text that was not used for the longest; `false` if there is none.
    pub fn drop_oldest(&mut self) -> bool {
        if self.0.is_empty() {
            return false;
        }
        self.0.remove(0);
        true
    }

    /// How many first tokens of a text the best of the kept ones has, which counts as used.
    pub fn shared(&mut self, text: &[u32]) -> usize {
        let Some((place, shared)) = self.best(text) else {
            return 0;
        };
        let kept = self.0.remove(place);
        self.0.push(kept);
        shared
    }

    /// A cache of the first tokens of a text, as far as any is kept.
    pub fn fork(&self, text: &[u32]) -> Option<TokenSequence> {
        let (place, shared) = self.best(text)?;
        fork(&self.0[place].cache, shared)
    }

    fn best(&self, text: &[u32]) -> Option<(usize, usize)> {
        let shared = self.0.iter().map(|kept| shared(&kept.tokens, text));
        let best = shared.enumerate().max_by_key(|(_, shared)| *shared);
        best.filter(|(_, shared)| *shared >= FEWEST_SHARED)
    }
}

/// Another cache of the first tokens; `None` where a model can't have one, or it isn't worth it.
pub fn fork(cache: &TokenSequence, tokens: usize) -> Option<TokenSequence> {
    if tokens < FEWEST_SHARED {
        return None;
    }
    cache.fork_at(tokens).ok()
}

/// How many first tokens two texts have in common.
pub fn shared(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}
