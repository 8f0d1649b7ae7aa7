//! What a draft source proposes: tokens that the target may generate next, with the distributions they were drawn from.

use super::candidate::Candidate;
use crate::sampling::Distribution;
use crate::settings::DraftKind;

/// A tree of proposed tokens; usually a chain.
///
/// Nodes are numbered, each after its parent. Siblings are in the order in which they were proposed.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    tokens: Vec<u32>,
    /// The parent of each node; `None`: the history.
    parents: Vec<Option<usize>>,
    distributions: Vec<Distribution<'static>>,
    candidates: Vec<Candidate>,
}

impl Draft {
    /// Adds a token after the last one.
    ///
    /// `distribution` must be exactly the one that the token was drawn from; [`Distribution::Point`] for a token without
    /// alternatives.
    pub fn push(&mut self, token: u32, distribution: Distribution<'static>, source: DraftKind) {
        self.push_child(self.len().checked_sub(1), token, distribution, source);
    }

    /// Adds a token after any node (`None`: the history) and returns the new node's number.
    ///
    /// `distribution` is what the token was drawn from, given its earlier siblings: if siblings are drawn without replacement,
    /// the same distribution [without](Distribution::without) their tokens.
    ///
    /// # Panics
    /// If there is no such parent.
    pub fn push_child(
        &mut self,
        parent: Option<usize>,
        token: u32,
        distribution: Distribution<'static>,
        source: DraftKind,
    ) -> usize {
        self.add(parent, Candidate::featureless(token, source), distribution)
    }

    /// Adds a token that was not drawn from a distribution after any node (`None`: the history) and returns the new node's
    /// number.
    ///
    /// # Panics
    /// If there is no such parent.
    pub fn push_candidate(&mut self, parent: Option<usize>, candidate: Candidate) -> usize {
        self.add(parent, candidate, Distribution::Point(candidate.token))
    }

    fn add(
        &mut self,
        parent: Option<usize>,
        candidate: Candidate,
        distribution: Distribution<'static>,
    ) -> usize {
        assert!(parent.is_none_or(|parent| parent < self.len()));
        self.tokens.push(candidate.token);
        self.parents.push(parent);
        self.distributions.push(distribution);
        self.candidates.push(candidate);
        self.len() - 1
    }

    /// Keeps the first `length` nodes, which form a tree, too.
    pub fn truncate(&mut self, length: usize) {
        self.tokens.truncate(length);
        self.parents.truncate(length);
        self.distributions.truncate(length);
        self.candidates.truncate(length);
    }

    /// The tokens up to the first node whose parent is not the node before it.
    pub fn first_chain(&self) -> &[u32] {
        let mut nodes = self.parents.iter().enumerate();
        let end = nodes.position(|(node, parent)| *parent != node.checked_sub(1));
        &self.tokens[..end.unwrap_or(self.len())]
    }

    /// Keeps the first chain.
    pub fn truncate_to_chain(&mut self) {
        self.truncate(self.first_chain().len());
    }

    /// Whether each node's parent is the node before it.
    pub fn is_chain(&self) -> bool {
        self.first_chain().len() == self.len()
    }

    /// The children of a node (`None`: the history), in the order in which they were proposed.
    pub fn children(&self, parent: Option<usize>) -> impl Iterator<Item = usize> {
        let first = parent.map_or(0, |parent| parent + 1);
        (first..self.len()).filter(move |node| self.parents[*node] == parent)
    }

    /// The tokens on the path to a node, its own token last.
    pub fn path(&self, node: usize) -> Vec<u32> {
        let ancestors = std::iter::successors(Some(node), |node| self.parents[*node]);
        let mut tokens: Vec<u32> = ancestors.map(|node| self.tokens[node]).collect();
        tokens.reverse();
        tokens
    }

    /// The tokens of all nodes.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The parent of each node; `None`: the history.
    pub fn parents(&self) -> &[Option<usize>] {
        &self.parents
    }

    /// The distribution that a node's token was drawn from.
    pub fn distribution(&self, node: usize) -> &Distribution<'static> {
        &self.distributions[node]
    }

    /// The source that proposed a node.
    pub fn source(&self, node: usize) -> DraftKind {
        self.candidates[node].source
    }

    /// A node's token with its source and feature.
    pub(in crate::speculation) fn candidate(&self, node: usize) -> Candidate {
        self.candidates[node]
    }

    /// Whether no token was drawn from a distribution, so that the tokens can compete with retrieved candidates.
    pub(in crate::speculation) fn is_certain(&self) -> bool {
        let mut distributions = self.distributions.iter();
        distributions.all(|distribution| matches!(distribution, Distribution::Point(_)))
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing is proposed.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The number of nodes on the longest path.
    pub fn depth(&self) -> usize {
        let mut depths: Vec<usize> = Vec::with_capacity(self.len());
        for parent in &self.parents {
            depths.push(parent.map_or(0, |parent| depths[parent]) + 1);
        }
        depths.into_iter().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(parents: &[Option<usize>]) -> Draft {
        let mut draft = Draft::default();
        for (token, parent) in (0..).zip(parents) {
            draft.push_child(*parent, token, Distribution::Point(token), DraftKind::NGRAM);
        }
        draft
    }

    #[test]
    fn children_come_in_their_order() {
        let tree = draft(&[None, Some(0), Some(0), None, Some(2)]);
        let children = |parent| tree.children(parent).collect::<Vec<_>>();
        assert_eq!(children(None), [0, 3]);
        assert_eq!(children(Some(0)), [1, 2]);
        assert_eq!(children(Some(2)), [4]);
        assert!(children(Some(4)).is_empty());
        assert_eq!(tree.path(4), [0, 2, 4]);
        assert_eq!(tree.depth(), 3);
        assert!(!tree.is_chain());
    }

    #[test]
    fn a_tree_is_cut_to_its_first_chain() {
        let mut tree = draft(&[None, Some(0), Some(0), Some(2)]);
        tree.truncate_to_chain();
        assert_eq!(tree.tokens(), [0, 1]);
        let mut chain = draft(&[None, Some(0), Some(1)]);
        assert!(chain.is_chain());
        chain.truncate_to_chain();
        assert_eq!((chain.len(), chain.depth()), (3, 3));
    }
}
