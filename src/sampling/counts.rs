//! How often tokens occur in a text that grows: counted once, however long the text is.

use ahash::AHashMap;

use crate::prefix;

/// A token of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) token: u32,
    /// How often it occurs after the prompt.
    pub(super) generated: u32,
    /// How often it occurs at all.
    occurs: u32,
}

/// The tokens of a prompt and of what follows it.
#[derive(Debug, Clone)]
pub(super) struct TokenCounts {
    prompt_length: usize,
    text: Vec<u32>,
    counts: Vec<Count>,
    /// Where each token is among the counts.
    places: AHashMap<u32, usize>,
    /// Tokens that were counted, or forgotten.
    #[cfg(test)]
    work: usize,
}

impl TokenCounts {
    /// Of an empty text, whose first tokens will be the prompt.
    pub(super) fn new(prompt_length: usize) -> Self {
        Self {
            prompt_length,
            text: Vec::new(),
            counts: Vec::new(),
            places: AHashMap::new(),
            #[cfg(test)]
            work: 0,
        }
    }

    /// The counts of `history` + `drafted`: only what differs from the text before is counted.
    pub(super) fn of(&mut self, history: &[u32], drafted: &[u32]) -> &[Count] {
        let known = match self.text.starts_with(history) {
            true => history.len() + prefix::shared(&self.text[history.len()..], drafted),
            false => prefix::shared(&self.text, history),
        };
        while self.text.len() > known {
            self.pop();
        }
        for token in history.iter().chain(drafted).skip(known) {
            self.push(*token);
        }
        &self.counts
    }

    fn push(&mut self, token: u32) {
        let place = *self.places.entry(token).or_insert(self.counts.len());
        if place == self.counts.len() {
            self.counts.push(Count {
                token,
                generated: 0,
                occurs: 0,
            });
        }
        let count = &mut self.counts[place];
        count.occurs += 1;
        count.generated += u32::from(self.text.len() >= self.prompt_length);
        self.text.push(token);
        #[cfg(test)]
        {
            self.work += 1;
        }
    }

    fn pop(&mut self) {
        let Some(token) = self.text.pop() else { return };
        let count = &mut self.counts[self.places[&token]];
        count.occurs -= 1;
        count.generated -= u32::from(self.text.len() >= self.prompt_length);
        // A token that no longer occurs was the last to be added.
        if count.occurs == 0 {
            self.counts.pop();
            self.places.remove(&token);
        }
        #[cfg(test)]
        {
            self.work += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_are_those_of_a_text_counted_anew(
            prompt_length in 0..4_usize,
            texts in prop::collection::vec(
                (prop::collection::vec(0..4_u32, 0..8), prop::collection::vec(0..4_u32, 0..4)),
                1..8,
            ),
        ) {
            let mut counts = TokenCounts::new(prompt_length);
            for (history, drafted) in texts {
                let mut expected: BTreeMap<u32, u32> = BTreeMap::new();
                for (position, token) in history.iter().chain(&drafted).enumerate() {
                    *expected.entry(*token).or_default() += u32::from(position >= prompt_length);
                }
                let found = counts.of(&history, &drafted).iter();
                let found: BTreeMap<u32, u32> = found.map(|count| (count.token, count.generated)).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_step_counts_its_own_tokens_alone() {
        let mut history: Vec<u32> = (0..5000).map(|token| token % 700).collect();
        let mut counts = TokenCounts::new(history.len());
        counts.of(&history, &[]);
        counts.work = 0;
        for step in 0..100 {
            counts.of(&history, &[]);
            counts.of(&history, &[1]);
            counts.of(&history, &[1, 2]);
            history.extend([1, step]);
        }
        assert!(counts.work <= 100 * 6, "{}", counts.work);
    }
}
