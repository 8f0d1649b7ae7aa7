//! What the formats of 2 and 3 bits with codebooks share: levels and signs.

/// The levels of the formats of 2 bits.
pub(crate) const LEVELS: [i8; 16] = with_signs([8, 25, 43, 0, 0, 0, 0, 0]);

/// Eight levels, and the same negative.
pub(super) const fn with_signs(levels: [i8; 8]) -> [i8; 16] {
    let mut signed = [0; 16];
    let mut index = 0;
    while index < levels.len() {
        signed[index] = levels[index];
        signed[index + 8] = -levels[index];
        index += 1;
    }
    signed
}

/// The bits that seven signs take.
pub(super) const SIGNS: u32 = 0x7F;

/// Eight signs of seven: those that are negative are even in number.
pub(super) fn signs_of(seven: u32) -> u8 {
    seven as u8 | ((seven.count_ones() & 1) << 7) as u8
}

/// The levels of an entry of a codebook, with the signs that the bits say.
pub(super) fn eighth(entry: u16, signs: u8) -> [u8; 8] {
    std::array::from_fn(|i| (entry >> (2 * i) & 3) as u8 | sign_bit(signs, i))
}

/// The bit of an index that makes its level negative, if the `i`-th sign says so.
pub(super) fn sign_bit(signs: u8, i: usize) -> u8 {
    (signs >> i & 1) << 3
}

/// The scales of the halves of 32 weights, from a byte's two halves.
pub(super) fn scales(scale: f32, byte: u8) -> [f32; 2] {
    [byte & 15, byte >> 4].map(|half| scale * (0.5 + f32::from(half)) * 0.25)
}
