//! An input of several parts.

/// The parts of an input, which zero bytes divide. The last holds the rest; missing ones are empty.
pub fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut found = input.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| found.next().unwrap_or_default())
}
