//! What a sequence keeps between passes: keys and values, the states of recurrent layers, and how many tokens count.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::states::States;
use crate::model::tree;

/// Checkpoints of a sequence, at most; past that, they thin out where they are the densest.
const MAX_CHECKPOINTS: usize = 8;

/// States that a sequence had when it held `length` tokens.
#[derive(Clone)]
struct Checkpoint {
    length: usize,
    states: States,
}

/// One sequence. Rolling back a cache is forgetting a number; a state goes back to what it reaches, or to a checkpoint.
pub(super) struct Sequence<B: Backend> {
    pub(super) cache: B::KvCache,
    pub(super) states: States,
    /// By rising length.
    checkpoints: Vec<Checkpoint>,
    pub(super) length: usize,
    /// A tree after the tokens that count: what each of its tokens follows, as bits.
    pub(super) tree: Vec<u64>,
    /// Which rotary embeddings the keys have, where a model has two sets.
    pub(super) keys: Keys,
    /// The tokens, and those of the tree, where the keys may have to be computed again; else empty.
    pub(super) tokens: Vec<u32>,
    pub(super) tree_tokens: Vec<u32>,
}

/// The rotary embeddings of a sequence's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// Those for texts of lengths that were trained on.
    Trained,
    /// Those for longer ones.
    Stretched,
    /// Some of each, after an error.
    Mixed,
}

impl<B: Backend> Sequence<B> {
    pub(super) fn new(cache: B::KvCache, states: States) -> Self {
        Self {
            cache,
            states,
            checkpoints: Vec::new(),
            length: 0,
            tree: Vec::new(),
            keys: Keys::Trained,
            tokens: Vec::new(),
            tree_tokens: Vec::new(),
        }
    }

    /// The most tokens, up to `length`, that it can be rolled back to.
    pub(super) fn reachable(&self, length: usize) -> usize {
        let length = length.min(self.length);
        let own = self.states.reachable(length);
        let earlier = self.checkpoints.iter();
        let earlier = earlier.filter_map(|checkpoint| checkpoint.reachable(length));
        earlier.chain(own).max().unwrap_or(0)
    }

    /// Remembers the states of its present length.
    pub(super) fn checkpoint(&mut self) {
        let length = self.length;
        let last = self.checkpoints.last().map(|last| last.length);
        let is_new = last != Some(length) && self.states.reachable(length) == Some(length);
        if self.states.is_empty() || !is_new {
            return;
        }
        if self.checkpoints.len() == MAX_CHECKPOINTS {
            self.checkpoints.remove(self.least_useful_checkpoint());
        }
        let states = self.states.fork(length);
        self.checkpoints.push(Checkpoint { length, states });
    }

    /// The one without which the smallest gap arises.
    fn least_useful_checkpoint(&self) -> usize {
        let length = |index: usize| self.checkpoints[index].length;
        let gap = |index: &usize| length(index + 1) - index.checked_sub(1).map_or(0, length);
        (0..self.checkpoints.len() - 1).min_by_key(gap).unwrap_or(0)
    }

    /// Forgets all but the first `length` tokens, and a tree after them.
    pub(super) fn truncate(&mut self, length: usize) -> Result<()> {
        self.return_to(length)?;
        self.length = length;
        self.tree.clear();
        self.tree_tokens.clear();
        self.tokens.truncate(length);
        self.checkpoints
            .retain(|checkpoint| checkpoint.length <= length);
        Ok(())
    }

    /// After an extension that failed: what it wrote lies past the length, where nothing reads it, but for states.
    pub(super) fn recover(&mut self) {
        // A checkpoint was taken where there may be need of one.
        drop(self.return_to(self.length));
    }

    /// A copy of the first `length` tokens; `cache` is theirs.
    pub(super) fn fork(&self, cache: B::KvCache, length: usize) -> Result<Self> {
        let checkpoints = self.checkpoints.iter();
        let earlier = checkpoints.filter(|checkpoint| checkpoint.length <= length);
        Ok(Self {
            cache,
            states: self.states_at(length)?.fork(length),
            checkpoints: earlier.cloned().collect(),
            length,
            tree: Vec::new(),
            keys: self.keys,
            tokens: self.tokens[..length.min(self.tokens.len())].to_vec(),
            tree_tokens: Vec::new(),
        })
    }

    /// Accepts a path of the tree, whose keys and values are in place.
    pub(super) fn accept(&mut self, path: &[usize]) -> Result<()> {
        self.states.accept(self.length, path)?;
        self.length += path.len();
        self.tree.clear();
        let tokens = std::mem::take(&mut self.tree_tokens);
        if !tokens.is_empty() {
            self.tokens.extend(path.iter().map(|node| tokens[*node]));
        }
        Ok(())
    }

    /// Fails if these tokens of its tree do not follow one another.
    pub(super) fn check_path(&self, path: &[usize]) -> Result<()> {
        tree::check_path(&self.tree, path)
    }

    fn return_to(&mut self, length: usize) -> Result<()> {
        if self.states.reachable(length) != Some(length) {
            self.states = self.states_at(length)?;
        }
        Ok(())
    }

    /// The states of the first `length` tokens.
    fn states_at(&self, length: usize) -> Result<States> {
        let reaches = |states: &&States| states.reachable(length) == Some(length);
        let earlier = self.checkpoints.iter().rev();
        let mut known =
            std::iter::once(&self.states).chain(earlier.map(|checkpoint| &checkpoint.states));
        match known.find(reaches) {
            Some(states) => Ok(states.clone()),
            None if length == 0 => Ok(self.states.cleared()),
            None => {
                let reachable = self.reachable(length);
                let expected =
                    format!("a length that its recurrent layers can go back to, as {reachable}");
                Err(Error::invalid("length", length, expected))
            }
        }
    }
}

impl Checkpoint {
    fn reachable(&self, length: usize) -> Option<usize> {
        self.states.reachable(length.min(self.length))
    }
}
