//! Products of packed matrices with rows of activations.
//!
//! A row's sums run block by block in the order of the inputs, and do not depend on the other rows of the batch.

use std::ops::Range;

use smallvec::SmallVec;

use super::blocks::Block;
use super::layouts::QuantizedLayout;
use super::math::{activate, load_some, store_some};
use super::memory::UnsafeSlice;
use super::pack::{Blocks, Packed, with_blocks};
use super::pool::Pool;
use super::rows::{
    ActivationFormats, Group, PackedActivations, PackedFormat, QuantizedX, Rows, groups,
};
use super::simd::{LANES, Simd};
use super::tier::{Kernel, Tier};
#[cfg(target_arch = "x86_64")]
use super::tiles::ByTiles;
use crate::Activation;

/// The maximum number of rows that a tier multiplies at once.
pub(super) const MAX_ROWS: usize = 16;

/// Bytes by which weights are prefetched ahead of their use. The hardware prefetcher stops at page boundaries.
const PREFETCH: usize = 4096;

/// The sums of a tile: sixteen outputs of each row of a group.
pub(super) type Sums = [[f32; LANES]; MAX_ROWS];

/// A linear layer: its matrix and its bias.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) matrix: &'a Packed,
    pub(super) bias: Option<&'a [f32]>,
}

/// The operation that is applied to a product before it is stored.
#[derive(Clone, Copy)]
pub(super) enum Epilogue<'a> {
    /// Nothing.
    Store,
    /// Adds these rows.
    Add(&'a Rows),
    /// `activation(product)`
    Activate(Activation),
    /// `activation(product with this layer) * product`; the layer's matrix has the product's layout.
    Gate(Layer<'a>, Activation),
}

/// A product and where it is written.
pub(super) struct Product<'a> {
    pub(super) layer: Layer<'a>,
    pub(super) epilogue: Epilogue<'a>,
    pub(super) output: &'a mut Rows,
}

/// Computes several products with the same activations, packed in the formats that the matrices need.
pub(super) fn multiply(
    products: &mut [Product<'_>],
    x: &PackedActivations,
    tier: Tier,
    pool: &Pool,
) {
    let products: SmallVec<[Tiles<'_>; 4]> = products
        .iter_mut()
        .map(|product| Tiles {
            layer: product.layer,
            epilogue: product.epilogue,
            output: UnsafeSlice::new(product.output.values_mut()),
            x,
            first: 0,
            count: product.layer.matrix.tiles(),
        })
        .collect();
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
                let count = share.min(product.count - first);
                return Tiles {
                    first,
                    count,
                    ..*product
                }
                .multiply(tier);
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

/// The activation formats that products with these matrices need.
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

/// Some tiles of a product: one work item.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    pub(super) layer: Layer<'a>,
    pub(super) epilogue: Epilogue<'a>,
    output: UnsafeSlice<'a, f32>,
    pub(super) x: &'a PackedActivations,
    first: usize,
    count: usize,
}

impl<'a> Tiles<'a> {
    /// Computes them with the kernel of the matrix's layout.
    fn multiply(self, tier: Tier) {
        with_blocks!(
            &self.layer.matrix.weights,
            quantized blocks => run_quantized(self, blocks.as_slice(), tier),
            float blocks => tier.run_floats(ByVectors { tiles: self, blocks: blocks.as_slice() })
        );
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// The product's layer and its gate, each with its blocks, and how many of the two there are.
    #[inline(always)]
    pub(super) fn layers<B: Blocks>(&self, blocks: &'a [B]) -> ([(Layer<'a>, &'a [B]); 2], usize) {
        let own = (self.layer, blocks);
        let Epilogue::Gate(gate, _) = self.epilogue else {
            return ([own, own], 1);
        };
        let Some(blocks) = B::of(&gate.matrix.weights) else {
            unreachable!("a gate has its product's layout");
        };
        ([own, (gate, blocks)], 2)
    }

    /// Writes a group's products with a tile, given the sums of the layer and of its gate.
    #[inline(always)]
    pub(super) fn finish<S: Simd>(&self, tile: usize, group: Group, sums: &[Sums; 2]) {
        let width = self.layer.matrix.outputs;
        let first = tile * LANES;
        let outputs = LANES.min(width - first);
        for row in 0..group.rows {
            let product = S::load(&sums[0][row]);
            let index = (group.first + row) * width + first;
            let result = match self.epilogue {
                Epilogue::Store => product,
                Epilogue::Add(rows) => {
                    let residual = load_some::<S>(&rows.values()[index..index + outputs]);
                    S::add(product, residual)
                }
                Epilogue::Activate(activation) => activate::<S>(product, activation),
                Epilogue::Gate(_, activation) => {
                    S::mul(activate::<S>(S::load(&sums[1][row]), activation), product)
                }
            };
            // SAFETY: every tile is multiplied by one thread, and writes its own outputs.
            store_some::<S>(result, unsafe { self.output.slice_mut(index, outputs) });
        }
    }
}

/// Multiplies quantized blocks: many rows with AMX tiles, if the tier has them.
fn run_quantized<B: QuantizedLayout + Block<X = QuantizedX> + Blocks>(
    tiles: Tiles<'_>,
    blocks: &[B],
    tier: Tier,
) {
    #[cfg(target_arch = "x86_64")]
    if tier.multiplies_by_tiles(tiles.x.rows()) {
        return tier.run_by_tiles(ByTiles { tiles, blocks });
    }
    tier.run(ByVectors { tiles, blocks });
}

/// Adds a layer's bias to the sums of a tile.
#[inline(always)]
pub(super) fn add_bias<S: Simd>(layer: Layer<'_>, tile: usize, group: Group, sums: &mut Sums) {
    if let Some(bias) = layer.bias {
        let outputs = tile * LANES..layer.matrix.outputs.min((tile + 1) * LANES);
        let bias = load_some::<S>(&bias[outputs]);
        for sums in &mut sums[..group.rows] {
            let biased = S::add(S::load(sums), bias);
            S::store(biased, sums);
        }
    }
}

/// Calls a function with the group's number of rows as `M`.
macro_rules! for_rows {
    ($group:ident, up to $max:expr, [$($rows:literal)*], $M:ident => $call:expr) => {
        match $group.rows {
            $($rows if $rows <= $max => {
                const $M: usize = $rows;
                $call
            })*
            rows => unreachable!("a group of {rows} rows"),
        }
    };
}
pub(super) use for_rows;

/// Some tiles of a product, computed with vector instructions.
struct ByVectors<'a, B> {
    tiles: Tiles<'a>,
    blocks: &'a [B],
}

impl<B: Block + Blocks> Kernel for ByVectors<'_, B>
where
    B::X: PackedFormat,
{
    #[inline(always)]
    fn run<S: Simd>(self) {
        let x = self.tiles.x;
        let (layers, count) = self.tiles.layers(self.blocks);
        let mut sums = [[[0.0; LANES]; MAX_ROWS]; 2];
        for tile in self.tiles.range() {
            for group in groups(x.rows(), S::ROWS) {
                for (&(layer, blocks), sums) in layers[..count].iter().zip(&mut sums) {
                    let blocks = &blocks[layer.matrix.blocks_of(tile)];
                    for_rows!(group, up to S::ROWS, [1 2 3 4 5 6 7 8], M => {
                        sum_blocks::<S, B, M>(blocks, B::X::blocks(x, group), sums);
                    });
                    add_bias::<S>(layer, tile, group, sums);
                }
                self.tiles.finish::<S>(tile, group, &sums);
            }
        }
    }
}

/// The sums of a tile with `M` rows.
#[inline(always)]
fn sum_blocks<S: Simd, B: Block, const M: usize>(blocks: &[B], x: &[[B::X; M]], sums: &mut Sums) {
    let mut lanes = [S::splat(0.0); M];
    for (block, x) in blocks.iter().zip(x) {
        // Past the tile's end, too, since the next tile follows in memory. (Past the matrix's end, prefetching is harmless.)
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
