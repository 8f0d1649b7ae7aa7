//! Prompt lookup: copies what followed the longest suffix of the text that occurred before, or a shorter one.
//!
//! (Saxena, 2023: <https://github.com/apoorvumang/prompt-lookup-decoding>; the longest suffix of any length: SAM-Decoding,
//! 2411.10666.)

use super::departure::Departure;
use super::suffix::{Match, SuffixAutomaton};
use super::{RetrievalDrafter, length_feature, length_prior};
use crate::error::Result;
use crate::settings::DraftKind;
use crate::speculation::Candidate;

/// The maximum number of matches, of different lengths, whose continuations are proposed.
const MAX_MATCHES: usize = 4;

/// What is added to the feature for what followed a match that is not the longest.
const SHORTER: u8 = 16;

/// The length of a match from which on the text is taken to copy what it matched.
const MIN_COPIED: usize = 4;

/// Looks up the end of the text in the text before it.
#[derive(Default)]
pub struct NgramDrafter {
    known: SuffixAutomaton,
    /// Where the text copied an earlier part of itself, and departed from it.
    departure: Option<Departure>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy)]
struct Node {
    parent: Option<usize>,
    token: u32,
    matched: Match,
    departure: Option<Departure>,
}

impl NgramDrafter {
    fn matched(&self, node: Option<usize>) -> Match {
        node.map_or_else(|| self.known.end(), |node| self.nodes[node].matched)
    }

    fn departure(&self, node: Option<usize>) -> Option<Departure> {
        node.map_or(self.departure, |node| self.nodes[node].departure)
    }

    fn copied(&self) -> impl Fn(usize) -> Option<u32> {
        |index| self.known.text().get(index).copied()
    }

    /// The departure from what was copied up to a node, after one more token.
    fn departure_after(&self, node: Option<usize>, token: u32) -> Option<Departure> {
        let matched = self.matched(node);
        if matched.length() < MIN_COPIED {
            return self.departure(node)?.advance(token, self.copied());
        }
        let departs = self.token(node, matched.end()) != Some(token);
        departs.then(|| Departure::new(matched.end(), token, self.copied()))
    }

    /// The token at a position of the text that is continued by the path to a node.
    fn token(&self, node: Option<usize>, position: usize) -> Option<u32> {
        if let Some(token) = self.known.text().get(position) {
            return Some(*token);
        }
        let ancestors = std::iter::successors(node, |node| self.nodes[*node].parent);
        let path: Vec<usize> = ancestors.collect();
        let depth = position - self.known.text().len();
        let index = path.len().checked_sub(depth + 1)?;
        Some(self.nodes[path[index]].token)
    }
}

impl RetrievalDrafter for NgramDrafter {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        for token in &text[self.known.text().len()..] {
            self.departure = self.departure_after(None, *token);
            self.known.push(*token);
        }
        Ok(())
    }

    fn enter(&mut self, parent: Option<usize>, token: u32) {
        self.nodes.push(Node {
            parent,
            token,
            matched: self.known.advance(self.matched(parent), token),
            departure: self.departure_after(parent, token),
        });
    }

    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
        let first = found.len();
        let shorter = |matched: &Match| self.known.shorter(*matched);
        let matches = std::iter::successors(Some(self.matched(node)), shorter);
        let matches = matches.take_while(|matched| matched.length() > 0 && matched.end() > 0);
        for matched in matches.take(MAX_MATCHES) {
            // In a text that repeats itself, the continuation may be among the nodes.
            let Some(token) = self.token(node, matched.end()) else {
                continue;
            };
            if found[first..].iter().all(|other| other.token != token) {
                let (offset, prior) = match found.len() == first {
                    true => (0, length_prior(matched.length())),
                    false => (SHORTER, 0.1),
                };
                found.push(Candidate {
                    token,
                    source: DraftKind::NGRAM,
                    feature: length_feature(matched.length()) + offset,
                    prior,
                });
            }
        }
        if let Some(departure) = self.departure(node) {
            departure.candidates(DraftKind::NGRAM, self.copied(), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most probable tokens, one after the other.
    fn chain(text: &[u32], length: usize) -> Vec<u32> {
        let mut drafter = NgramDrafter::default();
        drafter.follow(text).unwrap();
        let mut chain = Vec::new();
        while chain.len() < length {
            let mut found = Vec::new();
            drafter.candidates(chain.len().checked_sub(1), &mut found);
            let Some(best) = found.first() else { break };
            drafter.enter(chain.len().checked_sub(1), best.token);
            chain.push(best.token);
        }
        chain
    }

    fn candidates(text: &[u32]) -> Vec<(u32, u8)> {
        let mut drafter = NgramDrafter::default();
        drafter.follow(text).unwrap();
        let mut found = Vec::new();
        drafter.candidates(None, &mut found);
        found.iter().map(|c| (c.token, c.feature)).collect()
    }

    #[test]
    fn copies_what_followed_the_longest_suffix() {
        let text = [1, 2, 3, 9, 8, 5, 3, 7, 1, 2, 3];
        assert_eq!(chain(&text, 3), [9, 8, 5]);
        // And what followed the last occurrence of a shorter suffix.
        assert_eq!(candidates(&text), [(9, 3), (7, 1 + SHORTER)]);
        let text = [&text[..], &[4, 6, 3]].concat();
        assert_eq!(chain(&text, 2), [4, 6]);
        assert_eq!(candidates(&text), [(4, 1)]);
    }

    #[test]
    fn an_edited_copy_is_continued() {
        // After 1 to 8, a copy of it with 9 in place of 5, and one with 9 before 5.
        let text = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 9];
        let tokens = |text: &[u32]| candidates(text).into_iter().map(|(token, _)| token);
        assert!(tokens(&text).eq([6, 5]));
        let inserted = [&text[..], &[5]].concat();
        // A match of one token says the same.
        assert!(tokens(&inserted).eq([6]));
    }

    #[test]
    fn nothing_known_proposes_nothing() {
        for text in [&[][..], &[1], &[1, 2]] {
            assert_eq!(candidates(text), []);
        }
    }

    #[test]
    fn repetition_is_continued() {
        assert_eq!(chain(&[4, 4], 3), [4, 4, 4]);
        assert_eq!(chain(&[1, 2, 1, 2, 1], 4), [2, 1, 2, 1]);
    }
}
