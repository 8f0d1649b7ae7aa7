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

    /// The text that has the most first tokens in common with a prompt.
    pub fn find(&self, prompt: &[u32]) -> Option<Found> {
        let text = readable(prompt);
        let all = self.0.iter().enumerate();
        let best = all.map(|(place, kept)| Found {
            place,
            tokens: shared(&kept.tokens, text),
        });
        let best = best.max_by_key(|found| found.tokens);
        best.filter(|found| found.tokens >= FEWEST_SHARED)
    }

    /// Another cache of what was found, which counts as used now.
    pub fn fork(&mut self, found: Found) -> Option<TokenSequence> {
        let kept = self.0.remove(found.place);
        let fork = fork(&kept.cache, found.tokens);
        self.0.push(kept);
        fork
    }
}

/// A text that is kept, until another is kept or forgotten.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    place: usize,
    /// The first tokens that both have.
    pub tokens: usize,
}

/// What of a prompt is read before it is answered: the last token is fed to get its logits.
pub fn readable(prompt: &[u32]) -> &[u32] {
    &prompt[..prompt.len() - 1]
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
