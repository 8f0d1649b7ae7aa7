//! Block verification (Sun et al., 2403.10444), and its extension to trees, traversal verification (2505.12398).

use super::Verdict;
use crate::sampling::{Distribution, Rng};
use crate::speculation::Draft;

/// A node on the path from the root to the node that is being judged.
struct State<'a, E> {
    /// The probability of accepting the whole path up to this node.
    acceptance: f64,
    /// The target's distribution after this node, without the share of its judged children. It may not exist: after tokens that
    /// the target never generates.
    distribution: Result<Distribution<'a>, E>,
    /// Nodes with lower numbers are judged, or being judged.
    judged: usize,
}

/// Judges whole paths, from the deepest node upwards. On a chain, no rule accepts more tokens in expectation; on a tree, this
/// usually accepts more than [`rejection`](super::rejection) (not always if a leaf has a deeper later sibling).
///
/// With `a = 1` at the root, a child x of a node is accepted with probability `min(1, a p(x) / q(x))`. A leaf that is not
/// accepted is removed: its parent's `p` becomes `norm([a p - q]+)`, where Z is the sum, and its `a` becomes `Z / (Z + 1 - a)`.
///
/// `target_distribution(path)` is p after these nodes.
pub fn traversal<'a, E>(
    draft: &Draft,
    mut target_distribution: impl FnMut(&[usize]) -> Result<Distribution<'a>, E>,
    rng: &mut impl Rng,
) -> Result<Verdict, E> {
    let mut path = Vec::new();
    let mut current = State {
        acceptance: 1.0,
        distribution: target_distribution(&path),
        judged: 0,
    };
    let mut ancestors = Vec::new();
    loop {
        let mut children = draft.children(path.last().copied());
        let child = children.find(|child| *child >= current.judged);
        if let (Some(child), Ok(distribution)) = (child, &current.distribution) {
            let (token, q) = (draft.tokens()[child], draft.distribution(child));
            let ratio = current.acceptance * distribution.probability(token) / q.probability(token);
            path.push(child);
            current.judged = child + 1;
            let child = State {
                acceptance: ratio.min(1.0),
                distribution: target_distribution(&path),
                judged: child + 1,
            };
            ancestors.push(std::mem::replace(&mut current, child));
            continue;
        }
        current = match ancestors.pop() {
            Some(parent) if !rng.bernoulli(current.acceptance) => parent,
            _ => {
                let accepted = path;
                let next = match current.distribution {
                    Ok(distribution) => rng.categorical(&distribution),
                    Err(error) => return Verdict::ending_at(accepted, draft, error),
                };
                return Ok(Verdict { accepted, next });
            }
        };
        path.pop();
        let rejected = draft.distribution(current.judged - 1);
        let distribution = current.distribution?;
        let (excess, beyond) = distribution.beyond(current.acceptance, rejected);
        // If both are 0, the distributions are equal: the path up to this node could as well have been accepted.
        let remaining = (1.0 - current.acceptance) + excess;
        current.acceptance = if remaining > 0.0 {
            excess / remaining
        } else {
            1.0
        };
        current.distribution = Ok(beyond.unwrap_or(distribution));
    }
}
