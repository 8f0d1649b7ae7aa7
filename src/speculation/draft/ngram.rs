//! Prompt lookup: copy what followed the last few tokens where they stood before.
//!
//! (Saxena, 2023: <https://github.com/apoorvumang/prompt-lookup-decoding>)

use std::collections::HashMap;

use super::{Draft, DraftSource, TokenSource};
use crate::error::Result;
use crate::sampling::Distribution;

/// Lengths of the keys that are looked up, longest first.
const KEY_LENGTHS: [usize; 3] = [3, 2, 1];

/// Looks the newest tokens up among all before them, in constant time.
#[derive(Default)]
pub struct NgramDraft {
    /// For each key length: where what follows the key's most recent occurrence begins.
    continuations: [HashMap<Vec<u32>, usize>; KEY_LENGTHS.len()],
    /// Tokens of the history whose keys are entered.
    indexed: usize,
}

impl NgramDraft {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters every key that has a token behind it; the newest token's own must not find itself.
    fn index(&mut self, history: &[u32]) {
        for end in self.indexed.max(1)..history.len() {
            for (length, continuations) in KEY_LENGTHS.iter().zip(&mut self.continuations) {
                if let Some(start) = end.checked_sub(*length) {
                    continuations.insert(history[start..end].to_vec(), end);
                }
            }
        }
        self.indexed = history.len();
    }
}

impl DraftSource for NgramDraft {
    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        self.index(history);
        let found = KEY_LENGTHS
            .iter()
            .zip(&self.continuations)
            .find_map(|(length, known)| {
                let start = history.len().checked_sub(*length)?;
                known.get(&history[start..]).copied()
            });
        let Some(start) = found else {
            return Ok(Draft::default());
        };
        // A text that repeats itself goes on repeating: read past the end into the draft itself.
        let mut draft = Draft::default();
        for position in (start..).take(limit) {
            let token = match history.get(position) {
                Some(token) => *token,
                None => draft.tokens()[position - history.len()],
            };
            draft.push(token, Distribution::Point(token), TokenSource::Ngram);
        }
        Ok(draft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn propose(draft: &mut NgramDraft, history: &[u32], limit: usize) -> Vec<u32> {
        draft.propose(history, limit).unwrap().tokens().to_vec()
    }

    #[test]
    fn copies_what_followed_the_longest_key() {
        let mut draft = NgramDraft::new();
        let history = [1, 2, 3, 9, 8, 5, 3, 7, 1, 2, 3];
        assert_eq!(propose(&mut draft, &history, 3), [9, 8, 5]);
        // Nothing of length 3 or 2 matches; the most recent 3 was followed by 4.
        let history = [&history[..], &[4, 6, 3]].concat();
        assert_eq!(propose(&mut draft, &history, 2), [4, 6]);
    }

    #[test]
    fn nothing_known_proposes_nothing() {
        let mut draft = NgramDraft::new();
        assert!(propose(&mut draft, &[], 4).is_empty());
        assert!(propose(&mut draft, &[1], 4).is_empty());
        assert!(propose(&mut draft, &[1, 2], 4).is_empty());
        assert!(propose(&mut draft, &[1, 2, 1], 0).is_empty());
    }

    #[test]
    fn repetition_is_continued() {
        assert_eq!(propose(&mut NgramDraft::new(), &[4, 4], 3), [4, 4, 4]);
        assert_eq!(
            propose(&mut NgramDraft::new(), &[1, 2, 1, 2, 1], 4),
            [2, 1, 2, 1]
        );
    }
}
