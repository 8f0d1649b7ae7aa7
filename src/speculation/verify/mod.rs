//! Verification: which drafted tokens the target would have generated itself.
//!
//! Pure functions of distributions and random numbers: no model, no cache, no I/O. Each takes a tree of drafted tokens, of
//! which a chain is the simplest, and requests the target's distribution after a path of its nodes only if it is needed.

mod matching;
mod rejection;
mod traversal;

use super::Draft;

pub use matching::matching;
pub use rejection::rejection;
pub use traversal::traversal;

/// What verification decided about a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The accepted nodes of the draft, each the parent of the next.
    pub accepted: Vec<usize>,
    /// The target's own token after them.
    pub next: u32,
}

impl Verdict {
    /// The verdict where no token can follow the accepted ones: the last of them is the step's last, and a step that begins there
    /// fails with the same error, unless the text ended before it. Where nothing was accepted, the error is the step's.
    fn ending_at<E>(mut accepted: Vec<usize>, draft: &Draft, error: E) -> Result<Self, E> {
        let last = accepted.pop().ok_or(error)?;
        let next = draft.tokens()[last];
        Ok(Self { accepted, next })
    }
}
