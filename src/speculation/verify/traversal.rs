//! Block verification (Sun et al., 2403.10444), and its extension to trees, traversal verification (2505.12398).

use super::Verdict;
use crate::sampling::{Distribution, Rng};
use crate::speculation::Draft;

/// A node on the way from the root to the one that is being judged.
struct State<'a, E> {
    /// The probability with which the path to here is to be accepted, as a whole.
    acceptance: f64,
    /// The target's distribution after it, less what its judged children had. It may not exist, after tokens that the target never
    /// generates.
    distribution: Result<Distribution<'a>, E>,
    /// Nodes up to here (by number) are judged, or being judged.
    judged: usize,
}

/// Judges whole paths, from the deepest node upwards. In expectation this accepts, of a chain, the most tokens that any rule
/// can; of a tree mostly more than [`rejection`](super::rejection) (not always, where a leaf has a deeper younger sibling).
///
/// With `a = 1` at the root, a child x of a node is to be accepted with `min(1, a p(x) / q(x))`. Where a leaf is not, it is
/// removed, and its parent's `p` becomes `norm([a p - q]+)`, with the sum Z, and its `a` becomes `Z / (Z + 1 - a)`.
///
/// `target_distribution(path)` is p after these nodes.
pub fn traversal<'a, E>(
    draft: &Draft,
    mut target_distribution: impl FnMut(&[usize]) -> Result<Distribution<'a>, E>,
    rng: &mut impl Rng,
) -> Result<Verdict, E> {
    let mut path = Vec::new();
    let mut here = State {
        acceptance: 1.0,
        distribution: target_distribution(&path),
        judged: 0,
    };
    let mut above = Vec::new();
    loop {
        let mut children = draft.children(path.last().copied());
        let child = children.find(|child| *child >= here.judged);
        if let (Some(child), Ok(distribution)) = (child, &here.distribution) {
            let (token, q) = (draft.tokens()[child], draft.distribution(child));
            let ratio = here.acceptance * distribution.probability(token) / q.probability(token);
            path.push(child);
            here.judged = child + 1;
            let child = State {
                acceptance: ratio.min(1.0),
                distribution: target_distribution(&path),
                judged: child + 1,
            };
            above.push(std::mem::replace(&mut here, child));
            continue;
        }
        here = match above.pop() {
            Some(parent) if !rng.bernoulli(here.acceptance) => parent,
            _ => {
                let next = rng.categorical(&here.distribution?);
                let accepted = path;
                return Ok(Verdict { accepted, next });
            }
        };
        path.pop();
        let rejected = draft.distribution(here.judged - 1);
        let distribution = here.distribution?;
        let (excess, beyond) = distribution.beyond(here.acceptance, rejected);
        // Where both are 0 the distributions are equal, and the path to here was as good as accepted.
        let remaining = (1.0 - here.acceptance) + excess;
        here.acceptance = if remaining > 0.0 {
            excess / remaining
        } else {
            1.0
        };
        here.distribution = Ok(beyond.unwrap_or(distribution));
    }
}
