//! Texts that the operator gave: what followed the longest end of the text that occurs in them (a code base, templates).
//!
//! They are indexed once, in a file that all requests and processes share ([`index`]).

mod index;

use std::sync::Arc;

use super::{RetrievalDrafter, length_feature, length_prior};
use crate::error::Result;
use crate::settings::DraftKind;
use crate::speculation::Candidate;
use index::{DEPTH, END, Match};
pub(crate) use index::{Index, MAX_TOKENS, Origin};

/// The maximum number of places of a match that are looked at, and of candidates.
const MAX_PLACES: usize = 64;
const MAX_CANDIDATES: usize = 4;

/// The shortest match that is continued: single tokens occur everywhere.
const MIN_LENGTH: usize = 2;

/// New tokens up to which a match is extended one by one.
const MAX_STEPS: usize = 16;

/// The texts, if there are some, that all requests of a decoder share.
#[derive(Debug, Clone, Default)]
pub struct Corpus(Option<Arc<Index>>);

impl Corpus {
    pub(crate) fn new(index: Index) -> Self {
        Self(Some(index.into()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// A token that stands after each text.
    pub(crate) const END: u32 = END;
}

/// Looks up the end of the text in a corpus.
pub struct CorpusDrafter {
    index: Arc<Index>,
    /// The last tokens of the text.
    tail: Vec<u32>,
    /// How many tokens the text has.
    length: usize,
    matched: Match,
    nodes: Vec<Node>,
}

struct Node {
    parent: Option<usize>,
    token: u32,
    matched: Match,
}

impl CorpusDrafter {
    /// A drafter from a corpus; `None` if there is none.
    pub fn new(corpus: &Corpus) -> Option<Self> {
        let index = corpus.0.clone()?;
        Some(Self {
            tail: Vec::new(),
            length: 0,
            matched: index.nothing(),
            nodes: Vec::new(),
            index,
        })
    }

    fn matched(&self, node: Option<usize>) -> &Match {
        node.map_or(&self.matched, |node| &self.nodes[node].matched)
    }

    /// The last tokens of the text and of the path to a node.
    fn tail(&self, mut node: Option<usize>) -> Vec<u32> {
        let mut tail = Vec::with_capacity(DEPTH);
        while let Some(index) = node.filter(|_| tail.len() < DEPTH) {
            tail.push(self.nodes[index].token);
            node = self.nodes[index].parent;
        }
        let own = self.tail.iter().rev();
        tail.extend(own.take(DEPTH - tail.len()));
        tail.reverse();
        tail
    }

    /// The longest end of the text that occurs, given that without its last token.
    fn advance(&self, matched: &Match, token: u32, tail: impl FnOnce() -> Vec<u32>) -> Match {
        let longer = self.index.extend(matched, token);
        longer.unwrap_or_else(|| self.index.longest(&tail(), matched.length))
    }
}

impl RetrievalDrafter for CorpusDrafter {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        let tail_of = |length: usize| &text[length.saturating_sub(DEPTH)..length];
        if text.len() - self.length.min(text.len()) > MAX_STEPS {
            self.matched = self.index.longest(text, DEPTH);
            self.length = text.len();
        }
        for length in self.length + 1..=text.len() {
            let token = text[length - 1];
            self.matched = self.advance(&self.matched, token, || tail_of(length).to_vec());
        }
        self.length = text.len();
        self.tail = tail_of(text.len()).to_vec();
        Ok(())
    }

    fn enter(&mut self, parent: Option<usize>, token: u32) {
        let tail = || {
            let mut tail = self.tail(parent);
            tail.push(token);
            tail
        };
        let matched = self.advance(self.matched(parent), token, tail);
        self.nodes.push(Node {
            parent,
            token,
            matched,
        });
    }

    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
        let matched = self.matched(node);
        if matched.length < MIN_LENGTH {
            return;
        }
        let mut counts: Vec<(u32, usize)> = Vec::new();
        let mut places = 0;
        // Equal tokens are neighbours.
        for token in self.index.successors(matched, MAX_PLACES) {
            places += 1;
            match counts.last_mut() {
                Some((last, count)) if *last == token => *count += 1,
                _ => counts.push((token, 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let counts = counts.into_iter().filter(|(token, _)| *token != END);
        found.extend(counts.take(MAX_CANDIDATES).map(|(token, count)| {
            let share = count as f64 / f64::from(places);
            Candidate {
                token,
                source: DraftKind::CORPUS,
                feature: feature(matched.length, share),
                prior: share * length_prior(matched.length),
            }
        }));
    }
}

/// The match's length, and the share of the places where this token follows, in two parts.
fn feature(length: usize, share: f64) -> u8 {
    length_feature(length) + if share > 0.6 { 0 } else { 16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin {
        fingerprint: 3,
        digest: 4,
    };

    fn corpus(texts: &[&[u32]]) -> Corpus {
        let text: Vec<u32> = texts
            .iter()
            .flat_map(|text| [text, &[END][..]].concat())
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        Index::write(&path, ORIGIN, &text).unwrap();
        let index = Index::open(&path, ORIGIN).unwrap().unwrap();
        assert_eq!(index.len(), text.len());
        Corpus::new(index)
    }

    /// The tokens that may follow, by searching all texts.
    fn expected(texts: &[&[u32]], text: &[u32]) -> (usize, Vec<u32>) {
        for length in (MIN_LENGTH..=text.len().min(DEPTH)).rev() {
            let tail = &text[text.len() - length..];
            let occurs = |corpus: &[u32]| corpus.windows(length).any(|window| window == tail);
            if texts.iter().any(|corpus| occurs(corpus)) {
                let places = texts.iter().flat_map(|corpus| {
                    let places = corpus
                        .windows(length + 1)
                        .filter(|window| &window[..length] == tail);
                    places.map(|window| window[length])
                });
                let mut next: Vec<u32> = places.collect();
                next.sort_unstable();
                next.dedup();
                return (length, next);
            }
        }
        (0, Vec::new())
    }

    fn found(drafter: &CorpusDrafter, node: Option<usize>) -> Vec<u32> {
        let mut found = Vec::new();
        drafter.candidates(node, &mut found);
        let mut tokens: Vec<u32> = found.into_iter().map(|candidate| candidate.token).collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn matches_are_those_that_a_search_of_all_texts_finds() {
        // Few different tokens: many matches, of all lengths.
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            ((state >> 33) % below) as u32
        };
        let mut text = |length: usize| -> Vec<u32> { (0..length).map(|_| random(3)).collect() };
        let texts = [text(150), text(3), Vec::new(), text(200), vec![1; 90]];
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let mut drafter = CorpusDrafter::new(&corpus(&texts)).unwrap();
        let own = [text(40), vec![1; 100], text(30), texts[0][20..60].to_vec()].concat();
        let mut length = 0;
        for step in [1, 1, 5, 20, 1, 3].into_iter().cycle() {
            length += step;
            if length > own.len() {
                break;
            }
            drafter.follow(&own[..length]).unwrap();
            let (longest, next) = expected(&texts, &own[..length]);
            match longest {
                0 => assert!(drafter.matched.length < MIN_LENGTH, "{length}"),
                longest => assert_eq!(drafter.matched.length, longest, "{length}"),
            }
            assert_eq!(found(&drafter, None), next, "{length}");
            // A draft, which then leaves the corpus.
            let mut whole = own[..length].to_vec();
            for (node, token) in [0, 1, 2, 1, 1, 0].into_iter().enumerate() {
                drafter.enter(node.checked_sub(1), token);
                whole.push(token);
                assert_eq!(
                    found(&drafter, Some(node)),
                    expected(&texts, &whole).1,
                    "{length}, {node}"
                );
            }
        }
    }

    #[test]
    fn frequent_successors_come_first_and_no_match_reaches_over_an_end() {
        let corpus = corpus(&[&[1, 2, 3, 9, 1, 2, 4, 9, 1, 2, 4], &[7, 8]]);
        let mut drafter = CorpusDrafter::new(&corpus).unwrap();
        drafter.follow(&[1, 2]).unwrap();
        let mut candidates = Vec::new();
        drafter.candidates(None, &mut candidates);
        let tokens: Vec<u32> = candidates.iter().map(|candidate| candidate.token).collect();
        assert_eq!(tokens, [4, 3]);
        assert!(candidates[0].prior > candidates[1].prior);
        drafter.follow(&[1, 2, 4]).unwrap();
        assert_eq!(found(&drafter, None), [9]);
        drafter.follow(&[1, 2, 4, 7, 8]).unwrap();
        assert!(found(&drafter, None).is_empty());
        assert!(CorpusDrafter::new(&Corpus::default()).is_none());
    }

    #[test]
    fn an_index_of_something_else_or_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        assert!(Index::open(&path, ORIGIN).unwrap().is_none());
        Index::write(&path, ORIGIN, &[1, 2, END]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let digest = 5;
        assert!(
            Index::open(&path, Origin { digest, ..ORIGIN })
                .unwrap()
                .is_none()
        );
        for length in 1..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Index::open(&path, ORIGIN).unwrap().is_none(), "{length}");
        }
        // Places beyond the texts.
        let mut damaged = bytes.clone();
        damaged[HEADER_AND_TEXT..].fill(0x7f);
        std::fs::write(&path, damaged).unwrap();
        let index = Index::open(&path, ORIGIN).unwrap().unwrap();
        let mut drafter = CorpusDrafter::new(&Corpus::new(index)).unwrap();
        drafter.follow(&[1, 2, 1, 2]).unwrap();
        assert!(found(&drafter, None).is_empty());
    }

    const HEADER_AND_TEXT: usize = 40 + 3 * 4;
}
