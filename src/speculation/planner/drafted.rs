//! A model's or head's draft as candidates that compete with the retrieved ones.

use crate::error::Result;
use crate::speculation::{Candidate, Draft, RetrievalDrafter};

/// A draft as a retrieval drafter: it proposes the draft's nodes for as long as the text follows them.
#[derive(Default)]
pub struct DraftedCandidates {
    draft: Draft,
    /// The position of the text's end in the draft.
    current: Position,
    /// The number of tokens of the text.
    seen: usize,
    /// The position in the draft of each node of the growing tree.
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
    /// Replaces the draft by one that follows `text`.
    pub fn offer(&mut self, text: &[u32], draft: Draft) {
        *self = Self {
            draft,
            current: Position::Root,
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
        node.map_or(self.current, |node| self.nodes[node])
    }
}

impl RetrievalDrafter for DraftedCandidates {
    fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.nodes.clear();
        for token in &text[self.seen.min(text.len())..] {
            self.current = self.step(self.current, *token);
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

    fn found(drafted: &DraftedCandidates, node: Option<usize>) -> Vec<u32> {
        let mut found = Vec::new();
        drafted.candidates(node, &mut found);
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
            draft.push_candidate(parent, Candidate::featureless(token, DraftKind::MODEL));
        }
        let mut drafted = DraftedCandidates::default();
        drafted.follow(&[1, 2]).unwrap();
        assert!(found(&drafted, None).is_empty());
        drafted.offer(&[1, 2], draft);
        assert_eq!(found(&drafted, None), [5, 8]);
        drafted.enter(None, 5);
        drafted.enter(Some(0), 9);
        drafted.enter(Some(0), 4);
        assert_eq!(found(&drafted, Some(0)), [6, 9]);
        assert!(found(&drafted, Some(1)).is_empty() && found(&drafted, Some(2)).is_empty());
        drafted.follow(&[1, 2, 5, 6]).unwrap();
        assert_eq!(found(&drafted, None), [7]);
        drafted.follow(&[1, 2, 5, 6, 1]).unwrap();
        assert!(found(&drafted, None).is_empty());
    }
}
