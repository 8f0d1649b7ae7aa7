//! Products of one block of weights with some rows, in vector registers.

use super::layouts::{BLOCK, BYTE_OFFSET, FloatBlock, QuantizedLayout};
use super::rows::QuantizedX;
use super::simd::Simd;

/// A block of weights of one tile.
pub(super) trait Block {
    /// 32 activations of a row.
    type X: Copy;

    /// Adds the block's products with `M` rows to their sums.
    fn multiply<S: Simd, const M: usize>(&self, x: &[Self::X; M], sums: &mut [S::Floats; M]);
}

/// The sum of a sub-block's quantized activations.
#[inline(always)]
pub(super) fn sub_block_sum<B: QuantizedLayout>(x: &QuantizedX, sub_block: usize) -> i32 {
    match B::SUB_BLOCKS {
        1 => x.half_sums[0] + x.half_sums[1],
        _ => x.half_sums[sub_block],
    }
}

/// [`Block::multiply`] for quantized weights.
#[inline(always)]
pub(super) fn multiply_quantized<S: Simd, B: QuantizedLayout, const M: usize>(
    block: &B,
    x: &[QuantizedX; M],
    sums: &mut [S::Floats; M],
) {
    let mut products = [[S::splat_int(0); 2]; M];
    for row in 0..M {
        for sub_block in 0..B::SUB_BLOCKS {
            let sum = sub_block_sum::<B>(&x[row], sub_block);
            products[row][sub_block] = match B::OFFSET {
                BYTE_OFFSET => S::start_bytes(sum),
                offset => S::splat_int(-offset * sum),
            };
        }
    }
    // Unrolled, since shift counts must be constants.
    add_products::<S, B, M>(block, 0, x, &mut products);
    add_products::<S, B, M>(block, 1, x, &mut products);
    add_products::<S, B, M>(block, 2, x, &mut products);
    add_products::<S, B, M>(block, 3, x, &mut products);
    for row in 0..M {
        block.add::<S>(products[row], &x[row], &mut sums[row]);
    }
}

/// Adds the products of two vectors of quants with all rows.
#[inline(always)]
fn add_products<S: Simd, B: QuantizedLayout, const M: usize>(
    block: &B,
    index: usize,
    x: &[QuantizedX; M],
    products: &mut [[S::Ints; 2]; M],
) {
    let (first, second) = block.vectors::<S>(index);
    for row in 0..M {
        let own = &mut products[row];
        own[0] = dot::<S, B>(own[0], first, four(&x[row], index));
        let last = B::SUB_BLOCKS - 1;
        own[last] = dot::<S, B>(own[last], second, four(&x[row], index + 4));
    }
}

#[inline(always)]
fn dot<S: Simd, B: QuantizedLayout>(sums: S::Ints, weights: S::Bytes, x: [i8; 4]) -> S::Ints {
    match B::OFFSET {
        BYTE_OFFSET => S::dot_bytes(sums, weights, x),
        _ => S::dot_small(sums, weights, x),
    }
}

/// Four of a block's activations.
#[inline(always)]
fn four(x: &QuantizedX, index: usize) -> [i8; 4] {
    x.quants.as_chunks::<4>().0[index]
}

/// [`Block::multiply`] for floats. The block's products are summed separately first, which makes long sums more accurate.
#[inline(always)]
pub(super) fn multiply_floats<S: Simd, B: FloatBlock, const M: usize>(
    block: &B,
    x: &[[f32; BLOCK]; M],
    sums: &mut [S::Floats; M],
) {
    let mut products = [S::splat(0.0); M];
    for input in 0..BLOCK {
        let weights = block.load::<S>(input);
        for row in 0..M {
            products[row] = S::fma(weights, S::splat(x[row][input]), products[row]);
        }
    }
    for row in 0..M {
        sums[row] = S::add(sums[row], products[row]);
    }
}
