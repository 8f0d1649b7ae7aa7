//! Rejection sampling, token by token (Leviathan et al., 2211.17192; Chen et al., 2302.01318).

use super::Verdict;
use crate::sampling::{Chance, Distribution};
use crate::speculation::draft::Draft;

/// Accepts each drafted token x with probability min(1, p(x) / q(x)); after the first rejection draws
/// from norm([p - q]+), after the last acceptance from p. The tokens then follow the target's law.
///
/// `target_law(i)` is the target's law behind the draft's first `i` tokens; it is asked for in order,
/// and not past the first rejection. Greedy laws are points, for which the rule is equality.
pub fn rejection<E>(
    draft: &Draft,
    mut target_law: impl FnMut(usize) -> Result<Distribution, E>,
    chance: &mut impl Chance,
) -> Result<Verdict, E> {
    for (index, (token, q)) in draft.tokens().iter().zip(draft.laws()).enumerate() {
        let p = target_law(index)?;
        let ratio = f64::from(p.probability(*token)) / f64::from(q.probability(*token));
        if ratio >= 1.0 || chance.bernoulli(ratio) {
            continue;
        }
        // Without an excess p equals q up to rounding, and the token was as good as accepted.
        let law = p.residual(q).unwrap_or(p);
        return Ok(Verdict {
            accepted: index,
            next: chance.categorical(&law),
        });
    }
    let accepted = draft.len();
    let next = chance.categorical(&target_law(accepted)?);
    Ok(Verdict { accepted, next })
}
