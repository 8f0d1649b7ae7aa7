//! A model's or head's draft as candidates, weighed among those of retrieval.

use crate::error::Result;
use crate::speculation::{Candidate, Draft, RetrievalDrafter};

/// A draft as a retrieval drafter: its children at each node, while the text follows it.
#[derive(Default)]
pub struct DraftedCandidates {
    draft: Draft,
    /// Where in it the text ends.
    here: Position,
    /// Tokens of the text.
    seen: usize,
    /// The same for each node of the growing tree.
    nodes: Vec<Position>,
}

/// A position in a draft.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Position {
    /// Before its first tokens.
    Root,
    /// After a node.
    Node(usize),
    #[default]
    Elsewhere,
}

impl DraftedCandidates {
    /// Takes a draft that follows a text.
    pub fn offer(&mut self, text: &[u32], draft: Draft) {
        *self = Self {
            draft,
            here: Position::Root,
            seen: text.len(),
            nodes: Vec::new(),
        };
    }

    fn children(&self, position: Position) -> impl Iterator<Item = usize> {
        let parent = match position {
            Position::Root => Some(None),
            Position::Node(node) => Some(Some(node)),
            Position::Elsewhere => None,
        };
        parent
            .into_iter()
            .flat_map(|parent| self.draft.children(parent))
    }

    fn step(&self, position: Position, token: u32) -> Position {
        let mut children = self.children(position);
        let child = children.find(|node| self.draft.tokens()[*node] == token);
        child.map_or(Position::Elsewhere, Position::Node)
    }

    fn position(&self, node: Option<usize>) -> Position {
        node.map_or(self.here, |node| self.nodes[node])
    }
}

impl RetrievalDrafter for DraftedCandidates {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        for token in &text[self.seen.min(text.len())..] {
            self.here = self.step(self.here, *token);
        }
        self.seen = text.len();
        Ok(())
    }

    fn enter(&mut self, parent: Option<usize>, token: u32) {
        self.nodes.push(self.step(self.position(parent), token));
    }

    fn candidates(&self, node: Option<usize>, found: &mut Vec<Candidate>) {
        let children = self.children(self.position(node));
        found.extend(children.map(|child| self.draft.candidate(child)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::DraftKind;

    fn found(lookup: &DraftedCandidates, node: Option<usize>) -> Vec<u32> {
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
            draft.push_candidate(parent, Candidate::unmarked(token, DraftKind::MODEL));
        }
        let mut lookup = DraftedCandidates::default();
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
