//! Products of packed matrices with rows of activations.
//!
//! A row's sums run block by block in the order of the inputs, and do not depend on the other rows of the batch.

use std::cell::Cell;
use std::ops::Range;

use super::blocks::{Block, sub_block_sum};
use super::layouts::{BLOCK, QuantizedLayout};
use super::math::{activate, load_some, store_some};
use super::memory::UnsafeSlice;
use super::pack::{Packed, Weights, with_blocks};
use super::pool::Pool;
use super::rows::{ActivationFormats, Group, PackedActivations, QuantizedX, Rows, groups};
use super::simd::{LANES, Simd, TILE_ROWS, TileProducts as _, TileSums, TileWeights};
use super::tier::{Kernel, Tier};
use crate::Activation;

/// Rows that a tier multiplies at once, at most.
const MAX_ROWS: usize = 16;

/// Bytes by which weights are prefetched ahead of their use. The hardware prefetcher stops at page boundaries.
const PREFETCH: usize = 4096;

/// The sums of a tile: sixteen outputs of each row of a group.
type Sums = [[f32; LANES]; MAX_ROWS];

/// A linear layer: its matrix and its bias.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) matrix: &'a Packed,
    pub(super) bias: Option<&'a [f32]>,
}

/// What is done to a product before it is written.
#[derive(Clone, Copy)]
pub(super) enum Epilogue<'a> {
    /// Nothing.
    Store,
    /// Adds these rows.
    Add(&'a Rows),
    /// `activation(product)`
    Activate(Activation),
    /// `activation(product with this layer) * product`
    Gate(Layer<'a>, Activation),
}

/// A product and where it is written.
pub(super) struct Product<'a> {
    pub(super) layer: Layer<'a>,
    pub(super) epilogue: Epilogue<'a>,
    pub(super) output: &'a mut Rows,
}

/// The sums of a tile with `M` rows.
#[inline(always)]
fn sum_blocks<S: Simd, B: Block, const M: usize>(blocks: &[B], x: &[[B::X; M]], sums: &mut Sums) {
    let mut lanes = [S::splat(0.0); M];
    for (block, x) in blocks.iter().zip(x) {
        // Past the tile's end too, since the next tile follows in memory. (Past the matrix's end, prefetching is harmless.)
        let lines = if size_of::<B>() > PREFETCH / 4 {
            0
        } else {
            size_of::<B>().div_ceil(64)
        };
        for line in 0..lines {
            S::prefetch(
                std::ptr::from_ref(block)
                    .cast::<u8>()
                    .wrapping_add(PREFETCH + 64 * line),
            );
        }
        block.multiply::<S, M>(x, &mut lanes);
    }
    for row in 0..M {
        S::store(lanes[row], &mut sums[row]);
    }
}

/// What the products by AMX-like tiles of a tier need: the tiles, and a tile's weights unpacked.
type ByTiles<'a, S> = (&'a <S as Simd>::Tiles, &'a [TileWeights]);

/// The same sums by the tier's tiles, which multiply a block while the products of the block before are added.
#[inline(always)]
fn sum_by_tiles<S: Simd, B: QuantizedLayout, const M: usize>(
    blocks: &[B],
    (tiles, weights): ByTiles<'_, S>,
    x: &[QuantizedX],
    sums: &mut Sums,
) {
    let mut lanes = [S::splat(0.0); M];
    let mut products = [[TileSums([[0; LANES]; TILE_ROWS]); 2]; 2];
    begin_tile::<S, B>(tiles, &weights[0], x);
    tiles.finish(B::SUB_BLOCKS, &mut products[0]);
    if blocks.len() > 1 {
        begin_tile::<S, B>(tiles, &weights[1], &x[M..]);
    }
    for (index, block) in blocks.iter().enumerate() {
        let Some(own) = x[index * M..].first_chunk::<M>() else {
            unreachable!("a block has all rows");
        };
        add_tile::<S, B, M>(block, &products[index % 2], own, 0..M / 2, &mut lanes);
        // After half of the rows: multiplying takes about as long as adding these.
        if index + 1 < blocks.len() {
            tiles.finish(B::SUB_BLOCKS, &mut products[(index + 1) % 2]);
        }
        add_tile::<S, B, M>(block, &products[index % 2], own, M / 2..M, &mut lanes);
        if index + 2 < blocks.len() {
            begin_tile::<S, B>(tiles, &weights[index + 2], &x[(index + 2) * M..]);
        }
    }
    for row in 0..M {
        S::store(lanes[row], &mut sums[row]);
    }
}

/// Begins the products of a block with the first [`TILE_ROWS`] of these activations.
#[inline(always)]
fn begin_tile<S: Simd, B: QuantizedLayout>(
    tiles: &S::Tiles,
    weights: &TileWeights,
    x: &[QuantizedX],
) {
    let x = &x[..TILE_ROWS];
    let (first, stride) = (x.as_ptr().cast(), size_of::<QuantizedX>());
    // SAFETY: there are sixteen such elements, each of which begins with 32 quants.
    unsafe { tiles.multiply(B::SUB_BLOCKS, first, stride, weights) }
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

/// Calls a function with the group's number of rows as `M`.
macro_rules! for_rows {
    ($group:ident, [$($rows:literal)*], $M:ident => $call:expr) => {
        match $group.rows {
            $($rows if $rows <= S::ROWS => {
                const $M: usize = $rows;
                $call
            })*
            rows => unreachable!("a group of {rows} rows"),
        }
    };
}

/// The sums of quantized blocks, for any group.
#[inline(always)]
fn sum_quantized<S: Simd, B: QuantizedLayout + Block<X = QuantizedX>>(
    blocks: &[B],
    by_tiles: Option<ByTiles<'_, S>>,
    x: &PackedActivations,
    group: Group,
    sums: &mut Sums,
) {
    match by_tiles {
        // `groups` cuts `MIN_TILE_ROWS` rows or more into groups of at least eleven.
        Some(by_tiles) => {
            let x = x.quantized_for_tiles(group);
            for_rows!(group, [11 12 13 14 15 16], M => {
                sum_by_tiles::<S, B, M>(blocks, by_tiles, x, sums);
            });
        }
        None => for_rows!(group, [1 2 3 4 5 6 7 8], M => {
            sum_blocks::<S, B, M>(blocks, x.quantized::<M>(group), sums);
        }),
    }
}

/// The sums of blocks of floats, for any group.
#[inline(always)]
fn sum_floats<S: Simd, B: Block<X = [f32; BLOCK]>>(
    blocks: &[B],
    x: &PackedActivations,
    group: Group,
    sums: &mut Sums,
) {
    for_rows!(group, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16], M => {
        sum_blocks::<S, B, M>(blocks, x.floats::<M>(group), sums);
    });
}

/// The products of one tile with a group of rows, bias included.
#[inline(always)]
fn multiply_tile<S: Simd>(
    layer: Layer<'_>,
    tile: usize,
    by_tiles: Option<ByTiles<'_, S>>,
    x: &PackedActivations,
    group: Group,
    sums: &mut Sums,
) {
    let own = layer.matrix.blocks_of(tile);
    with_blocks!(
        &layer.matrix.weights,
        quantized blocks => {
            sum_quantized::<S, _>(&blocks.as_slice()[own], by_tiles, x, group, sums);
        },
        float blocks => sum_floats::<S, _>(&blocks.as_slice()[own], x, group, sums)
    );
    if let Some(bias) = layer.bias {
        let outputs = tile * LANES..layer.matrix.outputs.min((tile + 1) * LANES);
        let bias = load_some::<S>(&bias[outputs]);
        for sums in &mut sums[..group.rows] {
            let biased = S::add(S::load(sums), bias);
            S::store(biased, sums);
        }
    }
}

/// Unpacks a tile's quants, a byte each.
#[inline(always)]
fn unpack_tile<S: Simd>(matrix: &Packed, tile: usize, unpacked: &mut Vec<TileWeights>) {
    let own = matrix.blocks_of(tile);
    with_blocks!(
        &matrix.weights,
        quantized blocks => unpack::<S, _>(&blocks.as_slice()[own], unpacked),
        float _blocks => {}
    );
}

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

/// Some tiles of a product: one work item.
struct Tiles<'a> {
    layer: Layer<'a>,
    epilogue: Epilogue<'a>,
    output: UnsafeSlice<'a, f32>,
    x: &'a PackedActivations,
    first: usize,
    count: usize,
}

thread_local! {
    /// The unpacked weights of a product's tile, and of its gate's.
    static UNPACKED: Cell<[Vec<TileWeights>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

impl Kernel for Tiles<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (rows, width) = (self.x.rows(), self.layer.matrix.outputs);
        let tiles = S::tiles(rows);
        let mut unpacked = UNPACKED.take();
        let mut sums = [[0.0; LANES]; MAX_ROWS];
        let mut gates = [[0.0; LANES]; MAX_ROWS];
        for tile in self.first..self.first + self.count {
            let first = tile * LANES;
            let outputs = LANES.min(width - first);
            let mut by_tiles = [None, None];
            if let Some(tiles) = &tiles {
                unpack_tile::<S>(self.layer.matrix, tile, &mut unpacked[0]);
                if let Epilogue::Gate(gate, _) = self.epilogue {
                    unpack_tile::<S>(gate.matrix, tile, &mut unpacked[1]);
                }
                by_tiles = [
                    Some((tiles, &unpacked[0][..])),
                    Some((tiles, &unpacked[1][..])),
                ];
            }
            for group in groups(rows, S::rows_at_once(rows)) {
                multiply_tile::<S>(self.layer, tile, by_tiles[0], self.x, group, &mut sums);
                if let Epilogue::Gate(gate, _) = self.epilogue {
                    multiply_tile::<S>(gate, tile, by_tiles[1], self.x, group, &mut gates);
                }
                for row in 0..group.rows {
                    let product = S::load(&sums[row]);
                    let index = (group.first + row) * width + first;
                    let result = match self.epilogue {
                        Epilogue::Store => product,
                        Epilogue::Add(rows) => {
                            let residual = load_some::<S>(&rows.values()[index..index + outputs]);
                            S::add(product, residual)
                        }
                        Epilogue::Activate(activation) => activate::<S>(product, activation),
                        Epilogue::Gate(_, activation) => {
                            S::mul(activate::<S>(S::load(&gates[row]), activation), product)
                        }
                    };
                    // SAFETY: every tile is multiplied by one thread, and writes its own outputs.
                    store_some::<S>(result, unsafe { self.output.slice_mut(index, outputs) });
                }
            }
        }
        UNPACKED.set(unpacked);
    }
}

/// Computes several products with the same activations, packed in the formats that the matrices read.
pub(super) fn multiply<const N: usize>(
    products: [Product<'_>; N],
    x: &PackedActivations,
    tier: Tier,
    pool: &Pool,
) {
    let products = products.map(|product| Tiles {
        count: product.layer.matrix.tiles(),
        layer: product.layer,
        epilogue: product.epilogue,
        output: UnsafeSlice::new(product.output.values_mut()),
        x,
        first: 0,
    });
    // Enough items that a preempted thread delays the others little, few enough to stream through memory.
    let tiles: usize = products.iter().map(|product| product.count).sum();
    let share = tiles.div_ceil(8 * pool.threads());
    let items = |product: &Tiles<'_>| product.count.div_ceil(share);
    let count: usize = products.iter().map(items).sum();
    pool.for_each(count, &|item| {
        let mut item = striped(item, count, pool.threads());
        for product in &products {
            if item < items(product) {
                let first = item * share;
                return tier.run(Tiles {
                    first,
                    count: share.min(product.count - first),
                    ..*product
                });
            }
            item -= items(product);
        }
    });
}

/// The index of an item when each thread has a stripe of its own, if the threads claim items in turn: a thread then
/// reads contiguous memory, and uses its own prefetches.
fn striped(item: usize, count: usize, stripes: usize) -> usize {
    let (stripe, index) = (item % stripes, item / stripes);
    stripe * (count / stripes) + stripe.min(count % stripes) + index
}

/// The formats of the activations that products with these matrices read.
pub(super) fn activation_formats<'a>(
    matrices: impl IntoIterator<Item = &'a Packed>,
) -> ActivationFormats {
    let mut formats = ActivationFormats::default();
    for matrix in matrices {
        with_blocks!(
            &matrix.weights,
            quantized _blocks => formats.quantized = true,
            float _blocks => formats.floats = true
        );
    }
    formats
}
