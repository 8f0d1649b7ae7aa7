//! What two texts have in common.

/// How many first tokens two texts share.
pub(crate) fn shared(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}
