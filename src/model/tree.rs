//! Trees of tokens: several continuations of a sequence, computed at once.

use crate::backend::MAX_TREE_ROWS;
use crate::error::{Error, Result};

/// Which token each of some tokens follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parents<'a> {
    /// The one before it.
    #[default]
    Chain,
    /// The one of this index, which is smaller than its own; `None`: what the sequence holds.
    Tree(&'a [Option<usize>]),
}

impl Parents<'_> {
    /// Fails if they are not the parents of so many tokens, or a tree has more than `most`.
    pub(super) fn check(&self, tokens: usize, most: usize) -> Result<()> {
        let Self::Tree(parents) = self else {
            return Ok(());
        };
        if parents.len() != tokens {
            let expected = format!("one for each of the {tokens} tokens");
            return Err(Error::invalid("parents", parents.len(), expected));
        }
        if tokens > most {
            let expected = format!("at most {most} tokens in a tree");
            return Err(Error::invalid("parents", tokens, expected));
        }
        let mut later = parents.iter().enumerate();
        match later.find(|(token, parent)| parent.is_some_and(|parent| parent >= *token)) {
            None => Ok(()),
            Some((token, parent)) => {
                let expected = format!("the parent of token {token} before it");
                Err(Error::invalid(
                    "parents",
                    parent.unwrap_or_default(),
                    expected,
                ))
            }
        }
    }

    /// Of each token, those that it follows and itself, as bits; nothing for a chain.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = u64> {
        let parents = match self {
            Self::Chain => &[][..],
            Self::Tree(parents) => parents,
        };
        let mut all = [0_u64; MAX_TREE_ROWS];
        parents.iter().enumerate().map(move |(token, parent)| {
            let above = parent.map_or(0, |parent| all[parent]);
            all[token] = above | 1 << token;
            all[token]
        })
    }
}

/// Fails if these tokens of a tree do not follow one another from what the sequence holds.
pub(super) fn check_path(ancestors: &[u64], path: &[usize]) -> Result<()> {
    let mut above = 0;
    for token in path {
        let follows = |own: &&u64| **own ^ above == 1 << token;
        let Some(own) = ancestors.get(*token).filter(follows) else {
            let expected = "tokens of the tree, each of which follows the one before it";
            return Err(Error::invalid("path", token, expected));
        };
        above = *own;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENTS: [Option<usize>; 5] = [None, Some(0), Some(0), None, Some(2)];

    #[test]
    fn ancestors_are_followed_to_the_root() {
        let ancestors: Vec<u64> = Parents::Tree(&PARENTS).ancestors().collect();
        assert_eq!(ancestors, [0b1, 0b11, 0b101, 0b1000, 0b10101]);
        assert_eq!(Parents::Chain.ancestors().count(), 0);
    }

    #[test]
    fn a_path_follows_its_tokens() {
        let ancestors: Vec<u64> = Parents::Tree(&PARENTS).ancestors().collect();
        for path in [&[][..], &[0], &[0, 2], &[0, 2, 4], &[3]] {
            assert!(check_path(&ancestors, path).is_ok(), "{path:?}");
        }
        for path in [&[1][..], &[0, 3], &[0, 4], &[2, 0], &[0, 0], &[5], &[0, 64]] {
            assert!(check_path(&ancestors, path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let loops = [None, Some(1)];
        let many = [None; MAX_TREE_ROWS + 1];
        for (parents, tokens) in [(&PARENTS[..], 4), (&loops, 2), (&many, many.len())] {
            assert!(Parents::Tree(parents).check(tokens, MAX_TREE_ROWS).is_err());
        }
        assert!(Parents::Tree(&PARENTS).check(5, MAX_TREE_ROWS).is_ok());
        assert!(Parents::Chain.check(1000, MAX_TREE_ROWS).is_ok());
    }
}
