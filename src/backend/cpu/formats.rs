//! The blocks of ggml's formats, read (<https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h>).

use half::f16;

use super::layout::{BLOCK, Unpacked};

/// The `index`-th part of so many bytes.
fn part<const BYTES: usize>(row: &[u8], index: usize) -> &[u8; BYTES] {
    &row.as_chunks().0[index]
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// ggml's order of 4-bit quants: the lower halves of 16 bytes, then the upper ones.
fn split_nibbles(bytes: &[u8]) -> [u8; BLOCK] {
    std::array::from_fn(|i| {
        if i < 16 {
            bytes[i] & 15
        } else {
            bytes[i - 16] >> 4
        }
    })
}

/// Adds the fifth bits, quant by quant.
fn with_fifth_bits(mut quants: [u8; BLOCK], bits: &[u8]) -> [u8; BLOCK] {
    for (i, quant) in quants.iter_mut().enumerate() {
        *quant |= (bits[i / 8] >> (i % 8) & 1) << 4;
    }
    quants
}

pub(super) fn q4_0(row: &[u8], index: usize) -> Unpacked {
    let block: &[u8; 18] = part(row, index);
    let scale = half_at(block, 0);
    Unpacked {
        quants: split_nibbles(&block[2..]),
        scales: [scale; 2],
        min: -8.0 * scale,
    }
}

pub(super) fn q4_1(row: &[u8], index: usize) -> Unpacked {
    let block: &[u8; 20] = part(row, index);
    Unpacked {
        quants: split_nibbles(&block[4..]),
        scales: [half_at(block, 0); 2],
        min: half_at(block, 2),
    }
}

pub(super) fn q5_0(row: &[u8], index: usize) -> Unpacked {
    let block: &[u8; 22] = part(row, index);
    let scale = half_at(block, 0);
    Unpacked {
        quants: with_fifth_bits(split_nibbles(&block[6..]), &block[2..6]),
        scales: [scale; 2],
        min: -16.0 * scale,
    }
}

pub(super) fn q5_1(row: &[u8], index: usize) -> Unpacked {
    let block: &[u8; 24] = part(row, index);
    Unpacked {
        quants: with_fifth_bits(split_nibbles(&block[8..]), &block[4..8]),
        scales: [half_at(block, 0); 2],
        min: half_at(block, 2),
    }
}

pub(super) fn q8_0(row: &[u8], index: usize) -> Unpacked {
    let block: &[u8; 34] = part(row, index);
    Unpacked {
        quants: std::array::from_fn(|i| block[2 + i] ^ 128),
        scales: [half_at(block, 0); 2],
        min: 0.0,
    }
}

/// The 6-bit scale and minimum of one of the eight parts of a `Q4_K` or `Q5_K` block (`get_scale_min_k4`).
fn k_scale(scales: &[u8], part: usize) -> (f32, f32) {
    let (scale, min) = if part < 4 {
        (scales[part] & 63, scales[part + 4] & 63)
    } else {
        (
            scales[part + 4] & 15 | (scales[part - 4] >> 6) << 4,
            scales[part + 4] >> 4 | (scales[part] >> 6) << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

/// The quants of one of eight parts: two parts share 32 bytes, the first has their lower halves.
fn k_nibbles(bytes: &[u8], part: usize) -> [u8; BLOCK] {
    let bytes = &bytes[part / 2 * 32..];
    std::array::from_fn(|i| bytes[i] >> (4 * (part % 2)) & 15)
}

pub(super) fn q4_k(row: &[u8], index: usize) -> Unpacked {
    let (block, part): (&[u8; 144], _) = (part(row, index / 8), index % 8);
    let (scale, min) = k_scale(&block[4..16], part);
    Unpacked {
        quants: k_nibbles(&block[16..], part),
        scales: [half_at(block, 0) * scale; 2],
        min: -half_at(block, 2) * min,
    }
}

pub(super) fn q5_k(row: &[u8], index: usize) -> Unpacked {
    let (block, part): (&[u8; 176], _) = (part(row, index / 8), index % 8);
    let (scale, min) = k_scale(&block[4..16], part);
    let mut quants = k_nibbles(&block[48..], part);
    for (quant, bits) in quants.iter_mut().zip(&block[16..48]) {
        *quant |= (bits >> part & 1) << 4;
    }
    Unpacked {
        quants,
        scales: [half_at(block, 0) * scale; 2],
        min: -half_at(block, 2) * min,
    }
}

/// `Q3_K`: 3-bit quants from -4 to 3, a 6-bit scale for every 16.
pub(super) fn q3_k(row: &[u8], index: usize) -> Unpacked {
    let (block, part): (&[u8; 110], _) = (part(row, index / 8), index % 8);
    let (upper, lower, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let lower = &lower[part / 4 * 32..];
    let quants = std::array::from_fn(|i| {
        let bits = lower[i] >> (2 * (part % 4)) & 3;
        // A set bit means that four were not subtracted.
        32 + bits - 4 * (1 - (upper[i] >> part & 1))
    });
    let d = half_at(block, 108);
    let scale = |index: usize| {
        let low = scales[index % 8] >> (4 * (index / 8)) & 15;
        let high = scales[8 + index % 4] >> (2 * (index / 4)) & 3;
        d * (f32::from(low | high << 4) - 32.0)
    };
    Unpacked {
        quants,
        scales: [scale(2 * part), scale(2 * part + 1)],
        min: 0.0,
    }
}

/// `Q6_K`: 6-bit quants, an 8-bit scale for every 16.
pub(super) fn q6_k(row: &[u8], index: usize) -> Unpacked {
    let (block, part): (&[u8; 210], _) = (part(row, index / 8), index % 8);
    let (group, part_of_group) = (part / 4, part % 4);
    let lower = &block[64 * group + 32 * (part_of_group % 2)..];
    let upper = &block[128 + 32 * group..];
    let quants = std::array::from_fn(|i| {
        let low = lower[i] >> (4 * (part_of_group / 2)) & 15;
        low | (upper[i] >> (2 * part_of_group) & 3) << 4
    });
    let d = half_at(block, 208);
    let scale = |index: usize| d * f32::from(block[192 + index] as i8);
    Unpacked {
        quants,
        scales: [scale(2 * part), scale(2 * part + 1)],
        min: 0.0,
    }
}

/// Plain f32 to 8 bits.
pub(super) fn to_8_bits(row: &[u8], index: usize) -> Unpacked {
    let bytes: &[u8; 4 * BLOCK] = part(row, index);
    let values: [f32; BLOCK] = std::array::from_fn(|i| f32::from_le_bytes(*part(bytes, i)));
    let largest = values.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    Unpacked {
        quants: values.map(|x| ((x * inverse).round_ties_even() as i8 as u8) ^ 128),
        scales: [largest / 127.0; 2],
        min: 0.0,
    }
}
