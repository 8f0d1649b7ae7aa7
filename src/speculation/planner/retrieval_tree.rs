//! The retrieval drafters of one request: their candidates, the probability of each, and the tree with the best rate.
//!
//! Nodes are added in the order of the probability that the target reaches them, which accepts the most tokens for any number
//! of nodes (OPT-Tree, 2406.17276); the tree has as many as give the best rate.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::drafted::DraftedCandidates;
use super::estimate::{Load, StepEstimate};
use crate::error::Result;
use crate::model::LogitsRow;
use crate::speculation::acceptance::{Observations, Rank};
use crate::speculation::{Candidate, Draft, RetrievalDrafter};

/// The maximum number of candidates for one position: as many as token recycling stores. (Replays with 1 to 16 are equal: the
/// costs of rows admit few siblings.)
const MAX_SIBLINGS: usize = 8;

/// The retrieval drafters of one request.
pub struct RetrievalDrafters {
    sources: Vec<Box<dyn RetrievalDrafter>>,
    /// The last draft of a model or a head.
    offered: DraftedCandidates,
    /// The target's number of tokens; a table or a tokenizer may have more.
    vocab_size: usize,
}

/// The limits of a draft.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// The maximum number of tokens of a chain.
    pub tokens: usize,
    /// The maximum number of tokens of a tree; 0 if the target does not support trees.
    pub tree: usize,
    /// The minimum probability of reaching a node.
    pub reached: f64,
}

/// A draft and its estimate.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The tokens.
    pub draft: Draft,
    /// The estimate of a step with them.
    pub estimate: StepEstimate,
}

impl Plan {
    /// A step without a draft.
    pub fn plain(estimate: StepEstimate) -> Self {
        Self {
            draft: Draft::default(),
            estimate,
        }
    }
}

/// A candidate with the probability that it is the target's token.
#[derive(Debug, Clone, Copy)]
struct RankedCandidate {
    candidate: Candidate,
    rank: Rank,
    probability: f64,
}

/// A node that may be added to the tree.
struct FrontierNode {
    reached: f64,
    parent: Option<usize>,
    candidate: Candidate,
}

impl RetrievalDrafters {
    /// The drafters of these sources.
    pub fn new(sources: Vec<Box<dyn RetrievalDrafter>>, vocab_size: usize) -> Self {
        Self {
            sources,
            offered: DraftedCandidates::default(),
            vocab_size,
        }
    }

    /// Adds what a model or a head drafted after a text to the candidates.
    pub(crate) fn offer(&mut self, text: &[u32], draft: Draft) -> Result<()> {
        self.follow(text)?;
        self.offered.offer(text, draft);
        Ok(())
    }

    /// Follows a text, or more of it, without learning from it.
    pub(crate) fn follow(&mut self, text: &[u32]) -> Result<()> {
        self.each().try_for_each(|source| source.follow(text))
    }

    /// Follows what the target generated (the last `rows.len()` tokens of the text, each from its row of logits) and observes
    /// which candidates were right.
    pub(crate) fn learn(
        &mut self,
        text: &[u32],
        rows: &[LogitsRow<'_>],
        acceptance: &mut Observations<'_>,
    ) -> Result<()> {
        for (end, row) in (text.len() - rows.len()..).zip(rows) {
            let candidates = self.candidates(None);
            let ranked = rank_candidates(&candidates, acceptance).into_iter();
            let ranks = ranked.map(|ranked| (ranked.candidate, ranked.rank));
            let ranks: Vec<_> = ranks.collect();
            let any = candidates
                .into_iter()
                .map(|candidate| (candidate, Rank::Any));
            for (candidate, rank) in any.chain(ranks) {
                acceptance.observe(candidate, rank, candidate.token == text[end]);
            }
            for source in self.each() {
                source.learn(&text[..end], *row)?;
                source.follow(&text[..=end])?;
            }
        }
        Ok(())
    }

    /// The draft with the best rate, given the load of other requests and the costs of passes over 0, 1, 2, ... rows. It has only
    /// permitted tokens.
    pub(crate) fn grow(
        &mut self,
        passes: &[f64],
        load: Load,
        limit: Limit,
        acceptance: &Observations<'_>,
        mut permitted: impl FnMut(&[u32]) -> Result<bool>,
    ) -> Result<Plan> {
        let mut draft = Draft::default();
        let mut frontier = BinaryHeap::new();
        let expand = |sources: &Self, parent, reached, frontier: &mut BinaryHeap<FrontierNode>| {
            sources.expand(parent, reached, acceptance, frontier);
        };
        expand(self, None, 1.0, &mut frontier);
        let mut tokens = 1.0;
        let (mut best, mut length) = (load.plain(passes), 0);
        let max_nodes = passes.len().saturating_sub(load.rows + 2);
        let max_nodes = limit.tokens.min(max_nodes);
        while draft.len() < max_nodes
            && let Some(FrontierNode {
                reached,
                parent,
                candidate,
            }) = frontier.pop()
            && reached >= limit.reached
        {
            let chain = draft.is_chain() && parent == draft.len().checked_sub(1);
            if !chain && draft.len() >= limit.tree {
                continue;
            }
            let mut path = parent.map_or_else(Vec::new, |parent| draft.path(parent));
            path.push(candidate.token);
            if !permitted(&path)? {
                continue;
            }
            let node = draft.push_candidate(parent, candidate);
            for source in self.each() {
                source.enter(parent, candidate.token);
            }
            expand(self, Some(node), reached, &mut frontier);
            tokens += reached;
            let estimate = load.with(tokens, draft.len() + 1, passes);
            if estimate.rate() >= best.rate() {
                (best, length) = (estimate, draft.len());
            }
        }
        draft.truncate(length);
        Ok(Plan {
            draft,
            estimate: best,
        })
    }

    /// Adds the candidates after a node to the frontier.
    fn expand(
        &self,
        parent: Option<usize>,
        reached: f64,
        acceptance: &Observations<'_>,
        frontier: &mut BinaryHeap<FrontierNode>,
    ) {
        let ranked = rank_candidates(&self.candidates(parent), acceptance).into_iter();
        frontier.extend(ranked.take(MAX_SIBLINGS).map(|ranked| FrontierNode {
            reached: reached * ranked.probability,
            parent,
            candidate: ranked.candidate,
        }));
    }

    fn each(&mut self) -> impl Iterator<Item = &mut dyn RetrievalDrafter> {
        let sources = self.sources.iter_mut().map(|source| &mut **source as _);
        sources.chain([&mut self.offered as _])
    }

    fn candidates(&self, node: Option<usize>) -> Vec<Candidate> {
        let mut found = Vec::new();
        self.offered.candidates(node, &mut found);
        for source in &self.sources {
            source.candidates(node, &mut found);
        }
        found.retain(|candidate| (candidate.token as usize) < self.vocab_size);
        found
    }
}

/// The candidates for a position, each token once, most probable first.
fn rank_candidates(
    candidates: &[Candidate],
    acceptance: &Observations<'_>,
) -> Vec<RankedCandidate> {
    let mut ranked: Vec<RankedCandidate> = Vec::new();
    let rated = candidates.iter().map(|&candidate| {
        let rank = Rank::Any;
        RankedCandidate {
            candidate,
            rank,
            probability: acceptance.rate(candidate, rank),
        }
    });
    let mut rated: Vec<RankedCandidate> = rated.collect();
    rated.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    for entry in rated {
        let same = ranked
            .iter_mut()
            .find(|other| other.candidate.token == entry.candidate.token);
        match same {
            Some(first) if first.rank == Rank::First => {
                first.rank = Rank::Agreed;
            }
            Some(_) => {}
            None => {
                let rank = match ranked.is_empty() {
                    true => Rank::First,
                    false => Rank::Later,
                };
                ranked.push(RankedCandidate { rank, ..entry });
            }
        }
    }
    for entry in &mut ranked {
        entry.probability = acceptance.rate(entry.candidate, entry.rank);
    }
    // The probabilities of siblings sum to 1 at most.
    let mut left = 1.0;
    for entry in &mut ranked {
        entry.probability = entry.probability.min(left);
        left -= entry.probability;
    }
    ranked.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    ranked
}

impl Ord for FrontierNode {
    fn cmp(&self, other: &Self) -> Ordering {
        self.reached
            .total_cmp(&other.reached)
            // Of equals, the one with the earlier parent, so that a token that repeats itself makes a chain.
            .then(other.parent.cmp(&self.parent))
    }
}

impl PartialOrd for FrontierNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FrontierNode {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for FrontierNode {}
