//! Products of packed matrices with many rows, computed with AMX tiles.
//!
//! A tile multiplies sixteen rows at once, but needs weights that are unpacked to bytes, so it is faster only from
//! [`MIN_TILE_ROWS`](super::simd::amx::MIN_TILE_ROWS) rows on.

use std::cell::Cell;
use std::ops::Range;

use super::blocks::sub_block_sum;
use super::layouts::QuantizedLayout;
use super::product::{MAX_ROWS, Sums, TileRange, add_bias, for_rows};
use super::rows::{QuantizedX, groups};
use super::simd::amx::{AmxTiles, TILE_ROWS, TileSums, TileWeights};
use super::simd::{LANES, Simd};
use super::tier::Kernel;
use super::weights::Blocks;

/// Some tiles of a product with quantized blocks.
pub(super) struct ByTiles<'a, B> {
    pub(super) tiles: TileRange<'a>,
    pub(super) blocks: &'a [B],
}

thread_local! {
    /// The unpacked weights of a product's tile, and of its gate's.
    static UNPACKED: Cell<[Vec<TileWeights>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

impl<B: QuantizedLayout + Blocks> Kernel for ByTiles<'_, B> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        // SAFETY: only the tier with AMX, available only where it works, runs this kernel.
        let amx = unsafe { AmxTiles::configure() };
        let x = self.tiles.x;
        let (layers, count) = self.tiles.layers(self.blocks);
        let layers = &layers[..count];
        let mut unpacked = UNPACKED.take();
        let mut sums = [[[0.0; LANES]; MAX_ROWS]; 2];
        for position in self.tiles.positions() {
            let tile = self.tiles.tile_at(position);
            for (&(layer, blocks), unpacked) in layers.iter().zip(&mut unpacked) {
                unpack::<S, B>(&blocks[layer.matrix.blocks_of(tile)], unpacked);
            }
            for group in groups(x.rows(), TILE_ROWS) {
                let quantized = x.quantized_for_tiles(group);
                for (index, &(layer, blocks)) in layers.iter().enumerate() {
                    let (weights, sums) = (&unpacked[index], &mut sums[index]);
                    let blocks = &blocks[layer.matrix.blocks_of(tile)];
                    // `groups` cuts `MIN_TILE_ROWS` rows or more into groups of at least eleven.
                    for_rows!(group, up to TILE_ROWS, [11 12 13 14 15 16], M => {
                        sum_by_tiles::<S, B, M>(blocks, &amx, weights, quantized, sums);
                    });
                    add_bias::<S>(layer, tile, group, sums);
                }
                self.tiles.finish::<S>(position, group, &sums);
            }
        }
        UNPACKED.set(unpacked);
    }
}

/// Unpacks a tile's quants, a byte each.
#[inline(always)]
fn unpack<S: Simd, B: QuantizedLayout>(blocks: &[B], unpacked: &mut Vec<TileWeights>) {
    unpacked.resize(blocks.len(), TileWeights([[0; 4 * LANES]; 8]));
    for (block, unpacked) in blocks.iter().zip(unpacked) {
        for index in 0..4 {
            let (first, second) = block.vectors::<S>(index);
            S::store_bytes(first, &mut unpacked.0[index]);
            S::store_bytes(second, &mut unpacked.0[index + 4]);
        }
    }
}

/// The sums of a tile with `M` rows: a block is multiplied while the products of the block before are added.
#[inline(always)]
fn sum_by_tiles<S: Simd, B: QuantizedLayout, const M: usize>(
    blocks: &[B],
    amx: &AmxTiles,
    weights: &[TileWeights],
    x: &[QuantizedX],
    sums: &mut Sums,
) {
    let mut lanes = [S::splat(0.0); M];
    let mut products = [[TileSums([[0; LANES]; TILE_ROWS]); 2]; 2];
    start_tile::<B>(amx, &weights[0], x);
    amx.finish(B::SUB_BLOCKS, &mut products[0]);
    if blocks.len() > 1 {
        start_tile::<B>(amx, &weights[1], &x[M..]);
    }
    for (index, block) in blocks.iter().enumerate() {
        let Some(own) = x[index * M..].first_chunk::<M>() else {
            unreachable!("a block has all rows");
        };
        add_tile::<S, B, M>(block, &products[index % 2], own, 0..M / 2, &mut lanes);
        // After half of the rows: multiplying takes about as long as adding these.
        if index + 1 < blocks.len() {
            amx.finish(B::SUB_BLOCKS, &mut products[(index + 1) % 2]);
        }
        add_tile::<S, B, M>(block, &products[index % 2], own, M / 2..M, &mut lanes);
        if index + 2 < blocks.len() {
            start_tile::<B>(amx, &weights[index + 2], &x[(index + 2) * M..]);
        }
    }
    for row in 0..M {
        S::store(lanes[row], &mut sums[row]);
    }
}

/// Starts the products of a block with the first [`TILE_ROWS`] of these activations.
#[inline(always)]
fn start_tile<B: QuantizedLayout>(amx: &AmxTiles, weights: &TileWeights, x: &[QuantizedX]) {
    let x = &x[..TILE_ROWS];
    let (first, stride) = (x.as_ptr().cast(), size_of::<QuantizedX>());
    // SAFETY: there are sixteen such elements, each of which starts with 32 quants.
    unsafe { amx.multiply(B::SUB_BLOCKS, first, stride, weights) }
}

/// Scales some rows' products of a block and adds them.
#[inline(always)]
fn add_tile<S: Simd, B: QuantizedLayout, const M: usize>(
    block: &B,
    products: &[TileSums; 2],
    x: &[QuantizedX; M],
    rows: Range<usize>,
    lanes: &mut [S::Floats; M],
) {
    for row in rows {
        let mut integers = [S::splat_int(0); 2];
        for sub_block in 0..B::SUB_BLOCKS {
            let offset = -B::OFFSET * sub_block_sum::<B>(&x[row], sub_block);
            let products = S::load_ints(&products[sub_block].0[row]);
            integers[sub_block] = S::add_ints(products, S::splat_int(offset));
        }
        block.add::<S>(integers, &x[row], &mut lanes[row]);
    }
}
