//! Products of one block of weights with some rows, in vector registers.

use super::layout::{BLOCK, Block4, Block5, Block6, Block8};
use super::rows::QuantizedX;
use super::simd::{LANES, Simd};

/// A block of weights of one tile.
pub(super) trait Block {
    /// 32 activations of a row.
    type X: Copy;

    /// Adds the block's products with `M` rows to their sums.
    fn multiply<S: Simd, const M: usize>(&self, x: &[Self::X; M], sums: &mut [S::Floats; M]);
}

/// A block of quantized weights.
pub(super) trait QuantizedBlock {
    /// Parts of the block's inputs with scales of their own.
    const PARTS: usize;
    /// What quants are stored plus; [`BYTE_OFFSET`]: they may be any bytes, else they are below 64.
    const OFFSET: i32;

    /// The quants of four inputs as a vector of bytes, from input `4 * index` on, and those half a block later.
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes);

    /// Adds what the parts' sums of products of integers stand for.
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats);
}

/// What signed bytes are stored plus.
const BYTE_OFFSET: i32 = 128;

/// The sum of a part's quantized activations.
#[inline(always)]
pub(super) fn sum_of_part<B: QuantizedBlock>(x: &QuantizedX, part: usize) -> i32 {
    match B::PARTS {
        1 => x.half_sums[0] + x.half_sums[1],
        _ => x.half_sums[part],
    }
}

/// [`Block::multiply`] for quantized weights.
#[inline(always)]
fn multiply_quantized<S: Simd, B: QuantizedBlock, const M: usize>(
    block: &B,
    x: &[QuantizedX; M],
    sums: &mut [S::Floats; M],
) {
    let mut products = [[S::splat_int(0); 2]; M];
    for row in 0..M {
        for part in 0..B::PARTS {
            let sum = sum_of_part::<B>(&x[row], part);
            products[row][part] = match B::OFFSET {
                BYTE_OFFSET => S::start_bytes(sum),
                offset => S::splat_int(-offset * sum),
            };
        }
    }
    // Each with shifts of its own, which are part of the instructions.
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
fn add_products<S: Simd, B: QuantizedBlock, const M: usize>(
    block: &B,
    index: usize,
    x: &[QuantizedX; M],
    products: &mut [[S::Ints; 2]; M],
) {
    let (first, second) = block.vectors::<S>(index);
    for row in 0..M {
        let own = &mut products[row];
        own[0] = dot::<S, B>(own[0], first, four(&x[row], index));
        let part = B::PARTS - 1;
        own[part] = dot::<S, B>(own[part], second, four(&x[row], index + 4));
    }
}

#[inline(always)]
fn dot<S: Simd, B: QuantizedBlock>(sums: S::Ints, weights: S::Bytes, x: [i8; 4]) -> S::Ints {
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

/// `sums += integers * scales * x's scale + mins * x's sum`
#[inline(always)]
fn add_scaled<S: Simd>(
    sums: &mut S::Floats,
    integers: S::Ints,
    scales: &[u16; LANES],
    mins: &[u16; LANES],
    x: &QuantizedX,
) {
    let scaled = S::mul(S::to_floats(integers), S::load_f16(scales));
    *sums = S::fma(scaled, S::splat(x.scale), *sums);
    *sums = S::fma(S::load_f16(mins), S::splat(x.sum), *sums);
}

impl QuantizedBlock for Block4 {
    const PARTS: usize = 1;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes) {
        S::nibbles(S::load_bytes(&self.quants[index]))
    }

    #[inline(always)]
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats) {
        add_scaled::<S>(sums, products[0], &self.scales, &self.mins, x);
    }
}

impl QuantizedBlock for Block5 {
    const PARTS: usize = 1;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes) {
        let (low, high) = S::nibbles(S::load_bytes(&self.quants[index]));
        (
            S::or(low, S::fifth_bits(self.fifth_bits[index])),
            S::or(high, S::fifth_bits(self.fifth_bits[index + 4])),
        )
    }

    #[inline(always)]
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats) {
        add_scaled::<S>(sums, products[0], &self.scales, &self.mins, x);
    }
}

impl QuantizedBlock for Block6 {
    const PARTS: usize = 2;
    const OFFSET: i32 = 32;

    #[inline(always)]
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes) {
        let (low, high) = S::nibbles(S::load_bytes(&self.quants[index]));
        let (first, second) = (
            S::load_bytes(&self.upper_bits[0]),
            S::load_bytes(&self.upper_bits[1]),
        );
        (
            S::or(low, S::upper_bits(first, index)),
            S::or(high, S::upper_bits(second, index)),
        )
    }

    #[inline(always)]
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats) {
        let first = S::mul(S::to_floats(products[0]), S::load_f16(&self.scales[0]));
        let second = S::to_floats(products[1]);
        let both = S::fma(second, S::load_f16(&self.scales[1]), first);
        *sums = S::fma(both, S::splat(x.scale), *sums);
    }
}

impl QuantizedBlock for Block8 {
    const PARTS: usize = 1;
    const OFFSET: i32 = BYTE_OFFSET;

    #[inline(always)]
    fn vectors<S: Simd>(&self, index: usize) -> (S::Bytes, S::Bytes) {
        (
            S::load_bytes(&self.quants[index]),
            S::load_bytes(&self.quants[index + 4]),
        )
    }

    #[inline(always)]
    fn add<S: Simd>(&self, products: [S::Ints; 2], x: &QuantizedX, sums: &mut S::Floats) {
        let scaled = S::mul(S::to_floats(products[0]), S::load_f16(&self.scales));
        *sums = S::fma(scaled, S::splat(x.scale), *sums);
    }
}

macro_rules! quantized {
    ($($block:ident)*) => {
        $(impl Block for $block {
            type X = QuantizedX;

            #[inline(always)]
            fn multiply<S: Simd, const M: usize>(
                &self,
                x: &[QuantizedX; M],
                sums: &mut [S::Floats; M],
            ) {
                multiply_quantized::<S, Self, M>(self, x, sums);
            }
        })*
    };
}

quantized!(Block4 Block5 Block6 Block8);

/// Adds a block of floats: summed apart first, which keeps long sums exact.
#[inline(always)]
fn multiply_floats<S: Simd, T, const M: usize>(
    block: &[[T; LANES]; BLOCK],
    load: impl Fn(&[T; LANES]) -> S::Floats,
    x: &[[f32; BLOCK]; M],
    sums: &mut [S::Floats; M],
) {
    let mut products = [S::splat(0.0); M];
    for input in 0..BLOCK {
        let weights = load(&block[input]);
        for row in 0..M {
            products[row] = S::fma(weights, S::splat(x[row][input]), products[row]);
        }
    }
    for row in 0..M {
        sums[row] = S::add(sums[row], products[row]);
    }
}

impl Block for [[f32; LANES]; BLOCK] {
    type X = [f32; BLOCK];

    #[inline(always)]
    fn multiply<S: Simd, const M: usize>(&self, x: &[Self::X; M], sums: &mut [S::Floats; M]) {
        multiply_floats::<S, f32, M>(self, S::load, x, sums);
    }
}

/// Blocks of 16-bit floats differ by what their bits mean.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct HalfBlock<const BRAIN: bool>([[u16; LANES]; BLOCK]);

impl<const BRAIN: bool> HalfBlock<BRAIN> {
    pub(super) fn from_bits(blocks: &[[[u16; LANES]; BLOCK]]) -> &[Self] {
        // SAFETY: the wrapper is transparent.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len()) }
    }
}

impl<const BRAIN: bool> Block for HalfBlock<BRAIN> {
    type X = [f32; BLOCK];

    #[inline(always)]
    fn multiply<S: Simd, const M: usize>(&self, x: &[Self::X; M], sums: &mut [S::Floats; M]) {
        let load = if BRAIN { S::load_bf16 } else { S::load_f16 };
        multiply_floats::<S, u16, M>(&self.0, load, x, sums);
    }
}
