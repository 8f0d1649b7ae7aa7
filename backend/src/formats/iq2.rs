//! What the formats of 2 and 3 bits with codebooks share: levels and signs.

/// The levels of the formats of 2 bits.
const LEVELS: [i8; 4] = [8, 25, 43, 0];

/// The bits that seven signs take.
pub(super) const SIGNS: u32 = 0x7F;

/// Eight signs of seven: those that are negative are even in number.
pub(super) fn signs_of(seven: u32) -> u8 {
    seven as u8 | ((seven.count_ones() & 1) << 7) as u8
}

/// The levels of an entry of a codebook, with the signs that the bits say.
pub(super) fn eighth(entry: u16, signs: u8) -> [i8; 8] {
    std::array::from_fn(|i| {
        let level = LEVELS[usize::from(entry >> (2 * i) & 3)];
        signed(level, signs, i)
    })
}

/// A level, negative if the `i`-th bit says so.
pub(super) fn signed(level: i8, signs: u8, i: usize) -> i8 {
    match signs >> i & 1 {
        0 => level,
        _ => -level,
    }
}

/// Appends the values of 32 weights: two groups of 8 with each of two scales.
pub(super) fn push(groups: [[i8; 8]; 4], scales: [f32; 2], values: &mut Vec<f32>) {
    for (index, group) in groups.into_iter().enumerate() {
        values.extend(group.map(|level| scales[index / 2] * f32::from(level)));
    }
}

/// The scales of the halves of 32 weights, from a byte's two halves.
pub(super) fn scales(scale: f32, byte: u8) -> [f32; 2] {
    [byte & 15, byte >> 4].map(|half| scale * (0.5 + f32::from(half)) * 0.25)
}
