//! Rejection sampling, token by token (Leviathan et al., 2211.17192; Chen et al., 2302.01318), and over the children of a
//! tree (recursive rejection sampling: 2305.09781; without replacement: 2402.12374).

use super::Verdict;
use crate::sampling::{Distribution, Rng};
use crate::speculation::Draft;

/// Accepts a drafted token x, drawn from q, with probability min(1, p(x) / q(x)). After a rejection, p becomes
/// norm([p - q]+): the next sibling is verified against it or, if there is none, the token is drawn from it. The tokens then
/// follow the target's distribution.
///
/// `target_distribution(path)` is p after these nodes. Greedy distributions are points, for which the rule is equality.
pub fn rejection<'a, E>(
    draft: &Draft,
    mut target_distribution: impl FnMut(&[usize]) -> Result<Distribution<'a>, E>,
    rng: &mut impl Rng,
) -> Result<Verdict, E> {
    let mut accepted = Vec::new();
    'next_token: loop {
        let mut p = match target_distribution(&accepted) {
            Ok(p) => p,
            Err(error) => return Verdict::ending_at(accepted, draft, error),
        };
        for child in draft.children(accepted.last().copied()) {
            let (token, q) = (draft.tokens()[child], draft.distribution(child));
            let ratio = p.probability(token) / q.probability(token);
            if ratio >= 1.0 || rng.bernoulli(ratio) {
                accepted.push(child);
                continue 'next_token;
            }
            // Without an excess, p equals q up to rounding: the token could as well have been accepted.
            if let (_, Some(excess)) = p.beyond(1.0, q) {
                p = excess;
            }
        }
        let next = rng.categorical(&p);
        return Ok(Verdict { accepted, next });
    }
}
