//! Prompt lookup: copy what followed the longest end of the text that stood before.
//!
//! (Saxena, 2023: <https://github.com/apoorvumang/prompt-lookup-decoding>; the longest end of any length: SAM-Decoding,
//! 2411.10666.)

use super::suffix::SuffixAutomaton;
use super::{Draft, DraftSource, Prospect, TokenSource};
use crate::error::Result;
use crate::sampling::Distribution;

/// Looks the end of the text up among all before it.
#[derive(Default)]
pub struct NgramDraft {
    known: SuffixAutomaton,
}

impl NgramDraft {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn learn(&mut self, history: &[u32]) {
        for token in &history[self.known.text().len()..] {
            self.known.push(*token);
        }
    }
}

impl DraftSource for NgramDraft {
    fn read(&mut self, prompt: &[u32]) -> Result<()> {
        self.learn(prompt);
        Ok(())
    }

    fn prospect(&mut self, history: &[u32]) -> Result<Prospect> {
        self.learn(history);
        let length = self.known.longest_match().map(|found| found.1);
        Ok(Prospect {
            source: TokenSource::Ngram,
            tokens: length.map_or(0, |_| usize::MAX),
            evidence: length.unwrap_or(0),
        })
    }

    fn propose(&mut self, history: &[u32], limit: usize) -> Result<Draft> {
        self.learn(history);
        let mut draft = Draft::default();
        let Some((start, _)) = self.known.longest_match() else {
            return Ok(draft);
        };
        // A text that repeats itself goes on repeating: read past the end into the draft itself.
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
    fn copies_what_followed_the_longest_end() {
        let mut draft = NgramDraft::new();
        let history = [1, 2, 3, 9, 8, 5, 3, 7, 1, 2, 3];
        assert_eq!(propose(&mut draft, &history, 3), [9, 8, 5]);
        assert_eq!(draft.prospect(&history).unwrap().evidence, 3);
        // Nothing longer matches; the most recent 3 was followed by 4.
        let history = [&history[..], &[4, 6, 3]].concat();
        assert_eq!(propose(&mut draft, &history, 2), [4, 6]);
        assert_eq!(draft.prospect(&history).unwrap().evidence, 1);
    }

    #[test]
    fn nothing_known_proposes_nothing() {
        let mut draft = NgramDraft::new();
        assert!(propose(&mut draft, &[], 4).is_empty());
        assert!(propose(&mut draft, &[1], 4).is_empty());
        assert!(propose(&mut draft, &[1, 2], 4).is_empty());
        assert_eq!(draft.prospect(&[1, 2]).unwrap().tokens, 0);
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
