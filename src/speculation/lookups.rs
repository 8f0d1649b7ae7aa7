//! The sources without weights of one request, together: what may follow, how probably, and the tree of it that pays.
//!
//! A tree's nodes are taken in the order of the probability that the target reaches them, which for any number of nodes
//! accepts the most (OPT-Tree, 2406.17276); and as many as make the most tokens a time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::acceptance::{Acceptance, Standing};
use super::draft::{Candidate, Draft, Lookup, OfferedLookup};
use super::prospect::{Load, Prospect};
use crate::error::Result;

/// Most candidates for one place.
const MOST_SIBLINGS: usize = 8;

/// The lookups of one request.
pub struct Lookups {
    sources: Vec<Box<dyn Lookup>>,
    /// What a source that takes time proposed last.
    offered: OfferedLookup,
    /// The target's tokens: a table or a tokenizer may have others.
    vocab_size: usize,
}

/// What a draft must be like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Most tokens, each behind the one before it.
    pub tokens: usize,
    /// Most tokens of a tree; 0 where the target computes none.
    pub tree: usize,
    /// The probability with which each must be reached.
    pub reached: f64,
}

/// A draft, and what is expected of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The tokens.
    pub draft: Draft,
    /// Of a step with them.
    pub prospect: Prospect,
}

impl Plan {
    /// A step without a draft, of which this is expected.
    pub fn plain(prospect: Prospect) -> Self {
        Self {
            draft: Draft::default(),
            prospect,
        }
    }
}

/// A candidate, and the probability that the target writes it there.
#[derive(Debug, Clone, Copy)]
struct Weighed {
    candidate: Candidate,
    standing: Standing,
    probability: f64,
}

/// A node that may be added.
struct Bud {
    reached: f64,
    parent: Option<usize>,
    candidate: Candidate,
}

impl Lookups {
    /// Of these sources.
    pub fn new(sources: Vec<Box<dyn Lookup>>, vocab_size: usize) -> Self {
        Self {
            sources,
            offered: OfferedLookup::default(),
            vocab_size,
        }
    }

    /// Takes what a source that takes time proposes behind a text, as candidates among the others.
    pub fn offer(&mut self, text: &[u32], draft: Draft) -> Result<()> {
        self.read(text)?;
        self.offered.offer(text, draft);
        Ok(())
    }

    /// Reads on in a text that was not the target's to choose.
    pub fn read(&mut self, text: &[u32]) -> Result<()> {
        self.each().try_for_each(|source| source.follow(text))
    }

    /// Reads on in what the target wrote, the last tokens of the text, by such rows of logits; and learns which candidates
    /// came true.
    pub fn learn(
        &mut self,
        text: &[u32],
        rows: &[&[f32]],
        acceptance: &mut Acceptance,
    ) -> Result<()> {
        for (end, row) in (text.len() - rows.len()..).zip(rows) {
            let candidates = self.candidates(None);
            let weighed = weigh(&candidates, acceptance).into_iter();
            let standings = weighed.map(|weighed| (weighed.candidate, weighed.standing));
            let standings: Vec<_> = standings.collect();
            let any = candidates
                .into_iter()
                .map(|candidate| (candidate, Standing::Any));
            for (candidate, standing) in any.chain(standings) {
                acceptance.observe(candidate, standing, candidate.token == text[end]);
            }
            for source in self.each() {
                source.learn(&text[..end], row);
                source.follow(&text[..=end])?;
            }
        }
        Ok(())
    }

    /// The draft that makes a step the fastest, beside what the pass computes for others, given what passes over 0, 1, 2, ...
    /// rows cost; only of tokens that may follow those before them.
    pub fn grow(
        &mut self,
        passes: &[f64],
        load: Load,
        limit: Limit,
        acceptance: &Acceptance,
        mut permitted: impl FnMut(&[u32]) -> Result<bool>,
    ) -> Result<Plan> {
        let mut draft = Draft::default();
        let mut buds = BinaryHeap::new();
        let bud = |sources: &Self, parent, reached, buds: &mut BinaryHeap<Bud>| {
            sources.bud(parent, reached, acceptance, buds);
        };
        bud(self, None, 1.0, &mut buds);
        let mut tokens = 1.0;
        let (mut best, mut length) = (load.plain(passes), 0);
        let most = passes.len().saturating_sub(load.rows + 2);
        let most = limit.tokens.min(most);
        while draft.len() < most
            && let Some(Bud {
                reached,
                parent,
                candidate,
            }) = buds.pop()
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
            bud(self, Some(node), reached, &mut buds);
            tokens += reached;
            let prospect = load.with(tokens, draft.len() + 1, passes);
            if prospect.rate() >= best.rate() {
                (best, length) = (prospect, draft.len());
            }
        }
        draft.truncate(length);
        Ok(Plan {
            draft,
            prospect: best,
        })
    }

    /// Adds what may follow a node to what the tree may grow by.
    fn bud(
        &self,
        parent: Option<usize>,
        reached: f64,
        acceptance: &Acceptance,
        buds: &mut BinaryHeap<Bud>,
    ) {
        let weighed = weigh(&self.candidates(parent), acceptance).into_iter();
        buds.extend(weighed.take(MOST_SIBLINGS).map(|weighed| Bud {
            reached: reached * weighed.probability,
            parent,
            candidate: weighed.candidate,
        }));
    }

    fn each(&mut self) -> impl Iterator<Item = &mut dyn Lookup> {
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

/// The candidates for a place, each token once, likeliest first.
fn weigh(candidates: &[Candidate], acceptance: &Acceptance) -> Vec<Weighed> {
    let mut weighed: Vec<Weighed> = Vec::new();
    let rated = candidates.iter().map(|&candidate| {
        let standing = Standing::Any;
        Weighed {
            candidate,
            standing,
            probability: acceptance.rate(candidate, standing),
        }
    });
    let mut rated: Vec<Weighed> = rated.collect();
    rated.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    for one in rated {
        let same = weighed
            .iter_mut()
            .find(|other| other.candidate.token == one.candidate.token);
        match same {
            Some(first) if first.standing == Standing::First => {
                first.standing = Standing::Agreed;
            }
            Some(_) => {}
            None => {
                let standing = match weighed.is_empty() {
                    true => Standing::First,
                    false => Standing::Later,
                };
                weighed.push(Weighed { standing, ..one });
            }
        }
    }
    for one in &mut weighed {
        one.probability = acceptance.rate(one.candidate, one.standing);
    }
    // The best of several is seldom as good as it looks, but the others can't be better than what it leaves.
    let mut left = 1.0;
    for one in &mut weighed {
        one.probability = one.probability.min(left);
        left -= one.probability;
    }
    weighed.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    weighed
}

impl Ord for Bud {
    fn cmp(&self, other: &Self) -> Ordering {
        self.reached
            .total_cmp(&other.reached)
            // Of equals the elder, so that a text of one token over and over is a chain.
            .then(other.parent.cmp(&self.parent))
    }
}

impl PartialOrd for Bud {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bud {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Bud {}
