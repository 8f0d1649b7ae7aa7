//! How ggml's blocks pack their quants and scales, in the ways that several formats share.

use half::f16;

use super::BLOCK;

/// The `index`-th block of a row, of `BYTES` bytes.
pub(super) fn block<const BYTES: usize>(row: &[u8], index: usize) -> &[u8; BYTES] {
    &row.as_chunks().0[index]
}

/// The super-block that holds the `index`-th block of a row, and the block's index in it.
pub(super) fn super_block<const BYTES: usize>(row: &[u8], index: usize) -> (&[u8; BYTES], usize) {
    const BLOCKS: usize = super::SUPER_BLOCK / BLOCK;
    (block(row, index / BLOCKS), index % BLOCKS)
}

/// The half-precision float at these bytes.
pub(super) fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The 32-bit number at these bytes.
pub(super) fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// 32 4-bit quants of 16 bytes: the lower halves first, then the upper ones.
pub(super) fn nibbles(bytes: &[u8]) -> [u8; BLOCK] {
    let mut quants = [0; BLOCK];
    let (first, last) = quants.split_at_mut(BLOCK / 2);
    for ((first, last), byte) in first.iter_mut().zip(last).zip(&bytes[..BLOCK / 2]) {
        *first = byte & 15;
        *last = byte >> 4;
    }
    quants
}

/// Adds the fifth bits, quant by quant.
pub(super) fn with_fifth_bits(mut quants: [u8; BLOCK], bits: &[u8]) -> [u8; BLOCK] {
    for (i, quant) in quants.iter_mut().enumerate() {
        *quant |= (bits[i / 8] >> (i % 8) & 1) << 4;
    }
    quants
}

/// The 6-bit scale and minimum of one of the eight blocks of a `Q4_K` or `Q5_K` super-block (`get_scale_min_k4`).
pub(super) fn k_scale_min(scales: &[u8], block: usize) -> (f32, f32) {
    let (scale, min) = if block < 4 {
        (scales[block] & 63, scales[block + 4] & 63)
    } else {
        (
            scales[block + 4] & 15 | (scales[block - 4] >> 6) << 4,
            scales[block + 4] >> 4 | (scales[block] >> 6) << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

/// The quants of one of eight blocks: two blocks share 32 bytes, the first has their lower halves.
pub(super) fn k_nibbles(bytes: &[u8], block: usize) -> [u8; BLOCK] {
    let (shared, shift) = (&bytes[block / 2 * BLOCK..][..BLOCK], 4 * (block % 2));
    let mut quants = [0; BLOCK];
    for (quant, byte) in quants.iter_mut().zip(shared) {
        *quant = byte >> shift & 15;
    }
    quants
}

/// The single-precision float at these bytes.
pub(super) fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_bits(word_at(bytes, at))
}
