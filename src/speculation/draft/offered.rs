//! What a source that takes time proposed, weighed among the others' candidates.

use super::Draft;
use super::lookup::{Candidate, Lookup};
use crate::error::Result;

/// A draft as a lookup: what it says at each of its nodes, for as long as the text follows it.
#[derive(Default)]
pub struct OfferedLookup {
    draft: Draft,
    /// Where in it the text is.
    here: Place,
    /// Tokens of the text.
    seen: usize,
    /// Where in it each node of the tree that grows is.
    nodes: Vec<Place>,
}

/// A place in a draft.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Before its first tokens.
    Root,
    /// Behind a node.
    Node(usize),
    #[default]
    Elsewhere,
}

impl OfferedLookup {
    /// Takes a draft that may follow a text.
    pub fn offer(&mut self, text: &[u32], draft: Draft) {
        *self = Self {
            draft,
            here: Place::Root,
            seen: text.len(),
            nodes: Vec::new(),
        };
    }

    fn children(&self, place: Place) -> impl Iterator<Item = usize> {
        let parent = match place {
            Place::Root => Some(None),
            Place::Node(node) => Some(Some(node)),
            Place::Elsewhere => None,
        };
        parent
            .into_iter()
            .flat_map(|parent| self.draft.children(parent))
    }

    fn step(&self, place: Place, token: u32) -> Place {
        let mut children = self.children(place);
        let child = children.find(|node| self.draft.tokens()[*node] == token);
        child.map_or(Place::Elsewhere, Place::Node)
    }

    fn place(&self, node: Option<usize>) -> Place {
        node.map_or(self.here, |node| self.nodes[node])
    }
}

impl Lookup for OfferedLookup {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        for token in &text[self.seen.min(text.len())..] {
            self.here = self.step(self.here, *token);
        }
        self.seen = text.len();
        Ok(())
    }

    fn enter(&mut self, parent: Option<usize>, token: u32) {
        self.nodes.push(self.step(self.place(parent), token));
    }

    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
        let children = self.children(self.place(node));
        found.extend(children.map(|child| self.draft.candidate(child)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speculation::TokenSource;

    fn found(lookup: &OfferedLookup, node: Option<usize>) -> Vec<u32> {
        let mut found = Vec::new();
        lookup.candidates(node, &mut found);
        found.into_iter().map(|candidate| candidate.token).collect()
    }

    #[test]
    fn a_draft_is_followed_until_the_text_leaves_it() {
        let mut draft = Draft::default();
        for (parent, token) in [
            (None, 5),
            (Some(0), 6),
            (Some(1), 7),
            (None, 8),
            (Some(0), 9),
        ] {
            draft.push_candidate(parent, Candidate::unmarked(token, TokenSource::Model));
        }
        let mut lookup = OfferedLookup::default();
        lookup.follow(&[1, 2]).unwrap();
        assert!(found(&lookup, None).is_empty());
        lookup.offer(&[1, 2], draft);
        assert_eq!(found(&lookup, None), [5, 8]);
        lookup.enter(None, 5);
        lookup.enter(Some(0), 9);
        lookup.enter(Some(0), 4);
        assert_eq!(found(&lookup, Some(0)), [6, 9]);
        assert!(found(&lookup, Some(1)).is_empty() && found(&lookup, Some(2)).is_empty());
        lookup.follow(&[1, 2, 5, 6]).unwrap();
        assert_eq!(found(&lookup, None), [7]);
        lookup.follow(&[1, 2, 5, 6, 1]).unwrap();
        assert!(found(&lookup, None).is_empty());
    }
}
