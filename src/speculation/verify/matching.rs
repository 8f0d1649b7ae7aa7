//! Coupled verification: the target's own choices, which the draft only anticipates.

use super::Verdict;
use crate::speculation::Draft;

/// Follows the target's own choices through the draft for as long as it contains them.
///
/// `choose(path)` is the token that the target generates after these nodes: the most probable one (greedy decoding), or one
/// that the noise of its position chooses ([`Noise::choose`](crate::sampling::Noise::choose), the coupling of
/// 2408.07978). The draft does not affect the choice, so the output is the same, token for token, whatever was drafted.
pub fn matching<E>(
    draft: &Draft,
    mut choose: impl FnMut(&[usize]) -> Result<u32, E>,
) -> Result<Verdict, E> {
    let mut accepted = Vec::new();
    loop {
        let next = match choose(&accepted) {
            Ok(next) => next,
            Err(error) => return Verdict::ending_at(accepted, draft, error),
        };
        let mut children = draft.children(accepted.last().copied());
        match children.find(|child| draft.tokens()[*child] == next) {
            Some(child) => accepted.push(child),
            None => return Ok(Verdict { accepted, next }),
        }
    }
}
