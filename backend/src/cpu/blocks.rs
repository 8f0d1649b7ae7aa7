//! Products of one block of weights with some rows, in vector registers.

use super::layouts::{BLOCK, BYTE_OFFSET, FloatBlock, QuantizedLayout};
use super::rows::QuantizedX;
use super::simd::{SMALL_SUM, Simd};

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
    if S::PAIRS_ROWS && M > 1 {
        return multiply_pairs::<S, B, M>(block, x, sums);
    }
    let mut products = [[S::start(0, 0); 2]; M];
    for row in 0..M {
        for sub_block in 0..B::SUB_BLOCKS {
            let sum = sub_block_sum::<B>(&x[row], sub_block);
            products[row][sub_block] = S::start(B::OFFSET, sum);
        }
    }
    // Unrolled, since shift counts must be constants.
    add_products::<S, B, M>(block, 0, x, &mut products);
    add_products::<S, B, M>(block, 1, x, &mut products);
    add_products::<S, B, M>(block, 2, x, &mut products);
    add_products::<S, B, M>(block, 3, x, &mut products);
    for row in 0..M {
        let [first, second] = products[row];
        block.add::<S>([S::sums(first), S::sums(second)], &x[row], &mut sums[row]);
    }
}

/// Adds the products of two vectors of quants with all rows.
#[inline(always)]
fn add_products<S: Simd, B: QuantizedLayout, const M: usize>(
    block: &B,
    index: usize,
    x: &[QuantizedX; M],
    products: &mut [[S::Dots; 2]; M],
) {
    let (first, second) = block.vectors::<S>(index);
    for row in 0..M {
        let own = &mut products[row];
        own[0] = S::dot(B::OFFSET, own[0], first, four(&x[row], index));
        let last = B::SUB_BLOCKS - 1;
        own[last] = S::dot(B::OFFSET, own[last], second, four(&x[row], index + 4));
        if widens_after::<B>(index) {
            for dots in &mut own[..B::SUB_BLOCKS] {
                *dots = S::widen(*dots);
            }
        }
    }
}

/// [`multiply_quantized`], two rows at a time. The last of an odd number of rows is a pair with itself.
#[inline(always)]
fn multiply_pairs<S: Simd, B: QuantizedLayout, const M: usize>(
    block: &B,
    x: &[QuantizedX; M],
    sums: &mut [S::Floats; M],
) {
    // Of each pair, at its first row.
    let mut products = [[S::start_pair(0, [0; 2]); 2]; M];
    for row in (0..M).step_by(2) {
        let [first, second] = pair(x, row);
        for sub_block in 0..B::SUB_BLOCKS {
            let sums_of_x = [
                sub_block_sum::<B>(first, sub_block),
                sub_block_sum::<B>(second, sub_block),
            ];
            products[row][sub_block] = S::start_pair(B::OFFSET, sums_of_x);
        }
    }
    add_pairs::<S, B, M>(block, 0, x, &mut products);
    add_pairs::<S, B, M>(block, 2, x, &mut products);
    for row in (0..M).step_by(2) {
        let [first, second] = products[row];
        let (first, second) = (S::sums_of_pair(first), S::sums_of_pair(second));
        block.add::<S>([first[0], second[0]], &x[row], &mut sums[row]);
        if row + 1 < M {
            block.add::<S>([first[1], second[1]], &x[row + 1], &mut sums[row + 1]);
        }
    }
}

/// Adds the products of four vectors of quants, from `index` on and half a block later, with all pairs of rows.
#[inline(always)]
fn add_pairs<S: Simd, B: QuantizedLayout, const M: usize>(
    block: &B,
    index: usize,
    x: &[QuantizedX; M],
    products: &mut [[[S::Dots; 2]; 2]; M],
) {
    let (lower, upper) = (block.vectors::<S>(index), block.vectors::<S>(index + 1));
    for row in (0..M).step_by(2) {
        let [one, other] = pair(x, row);
        let own = &mut products[row];
        let first = [eight(one, index / 2), eight(other, index / 2)];
        own[0] = S::dot_pair(B::OFFSET, own[0], [lower.0, upper.0], first);
        let second = [eight(one, index / 2 + 2), eight(other, index / 2 + 2)];
        let last = B::SUB_BLOCKS - 1;
        own[last] = S::dot_pair(B::OFFSET, own[last], [lower.1, upper.1], second);
    }
}

/// A row and the next, or the last with itself.
#[inline(always)]
fn pair<const M: usize>(x: &[QuantizedX; M], row: usize) -> [&QuantizedX; 2] {
    [&x[row], &x[(row + 1).min(M - 1)]]
}

/// Whether sums of 16 bits are widened after a vector: after the last of a block, and before they could be exceeded.
const fn widens_after<B: QuantizedLayout>(index: usize) -> bool {
    if B::OFFSET == BYTE_OFFSET {
        return false;
    }
    let dots = if B::SUB_BLOCKS == 1 { 2 } else { 1 };
    let largest = dots * 2 * B::LARGEST as i32 * 127;
    (index + 1).is_multiple_of((SMALL_SUM / largest) as usize) || index == 3
}

/// Four of a block's activations.
#[inline(always)]
fn four(x: &QuantizedX, index: usize) -> [i8; 4] {
    x.quants.as_chunks::<4>().0[index]
}

/// Eight of a block's activations.
#[inline(always)]
fn eight(x: &QuantizedX, index: usize) -> [i8; 8] {
    x.quants.as_chunks::<8>().0[index]
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

#[cfg(test)]
mod tests {
    use super::super::layouts::{
        Affine2Halves, Affine4, Affine5, E2m1, E2m1Halves, Iq1Halves, Iq2Halves, Iq3S, Iq3Xxs,
        NonLinear4, Symmetric6, Symmetric8,
    };
    use super::super::simd::LANES;
    use super::super::tests::tiers;
    use super::super::tier::Kernel;
    use super::*;
    use crate::formats::QuantBlock;

    /// Three rows: a pair and one that is alone.
    struct OneBlock<'a, B> {
        block: &'a B,
        x: &'a [QuantizedX; 3],
        by_pairs: bool,
        sums: &'a mut [[f32; LANES]; 3],
    }

    impl<B: QuantizedLayout> Kernel for OneBlock<'_, B> {
        #[inline(always)]
        fn run<S: Simd>(self) {
            let mut sums = [S::splat(0.0); 3];
            match self.by_pairs {
                true => multiply_pairs::<S, B, 3>(self.block, self.x, &mut sums),
                false => multiply_quantized::<S, B, 3>(self.block, self.x, &mut sums),
            }
            for (sums, vector) in self.sums.iter_mut().zip(sums) {
                S::store(vector, sums);
            }
        }
    }

    /// Activations of one sign in each half: as far from 0 as sums get.
    fn extreme(halves: [i8; 2]) -> QuantizedX {
        let quants = std::array::from_fn(|input| halves[input / (BLOCK / 2)]);
        let half_sums = halves.map(|quant| i32::from(quant) * (BLOCK / 2) as i32);
        QuantizedX {
            quants,
            scale: 1.0,
            sum: half_sums.iter().sum::<i32>() as f32,
            half_sums,
        }
    }

    /// Compares the products of a block whose stored quants are all `quant` with sums of its weights.
    fn check<B: QuantizedLayout>(name: &str, quant: u8) {
        let mut block = B::zeroed();
        for lane in 0..LANES {
            block.insert(
                lane,
                &QuantBlock {
                    quants: [quant; BLOCK],
                    scales: [1.0; 2],
                    mins: [0.0; 2],
                },
            );
        }
        for halves in [[127, 127], [-127, -127], [127, -127]] {
            let x = [
                extreme(halves),
                extreme([0, halves[1]]),
                extreme([halves[0], 0]),
            ];
            let expected = x.map(|x| {
                let product = |input| block.weight(0, input) * f32::from(x.quants[input]);
                (0..BLOCK).map(product).sum::<f32>()
            });
            let expected = expected.map(|sum| [sum; LANES]);
            for (tier, by_pairs) in tiers().flat_map(|tier| [(tier, false), (tier, true)]) {
                let mut sums = [[0.0; LANES]; 3];
                tier.run(OneBlock {
                    block: &block,
                    x: &x,
                    by_pairs,
                    sums: &mut sums,
                });
                let case = format!("{name}, quant {quant}, {halves:?}, {tier}, {by_pairs}");
                assert_eq!(sums, expected, "{case}");
            }
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        for quant in [0, 1, 3] {
            check::<Affine2Halves>("Affine2Halves", quant);
        }
        for quant in 0..16 {
            check::<Affine4>("Affine4", quant);
            check::<E2m1>("E2m1", quant);
            check::<E2m1Halves>("E2m1Halves", quant);
            check::<Iq1Halves>("Iq1Halves", quant);
            check::<Iq2Halves>("Iq2Halves", quant);
            check::<Iq3S>("Iq3S", quant);
            check::<Iq3Xxs>("Iq3Xxs", quant);
            check::<NonLinear4>("NonLinear4", quant);
        }
        for quant in [0, 1, 16, 31] {
            check::<Affine5>("Affine5", quant);
        }
        for quant in [0, 1, 32, 63] {
            check::<Symmetric6>("Symmetric6", quant);
        }
        for quant in [1, 2, 128, 254, 255] {
            check::<Symmetric8>("Symmetric8", quant);
        }
    }
}
