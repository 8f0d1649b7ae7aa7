//! Products of packed matrices with rows of activations.
//!
//! A row's sums run block by block in the order of the inputs, and do not depend on the other rows of the batch.

use smallvec::SmallVec;

use super::blocks::Block;
use super::layouts::QuantizedLayout;
use super::memory::UnsafeSlice;
use super::pool::Pool;
use super::product::{MAX_ROWS, Product, Sums, TileRange, add_bias, for_rows};
use super::rows::{ActivationFormats, PackedFormat, QuantizedX, groups};
use super::simd::{LANES, Simd};
use super::tier::{Kernel, Tier};
#[cfg(target_arch = "x86_64")]
use super::tiles::ByTiles;
use super::weights::{Blocks, Layout, with_blocks};

/// Bytes by which weights are prefetched ahead of their use. The hardware prefetcher stops at page boundaries.
const PREFETCH: usize = 4096;

/// Computes several products.
pub(super) fn multiply(products: &mut [Product<'_>], tier: Tier, pool: &Pool) {
    let products: SmallVec<[TileRange<'_>; 4]> = products
        .iter_mut()
        .map(|product| TileRange {
            layer: product.layer,
            epilogue: product.epilogue,
            among: product.among,
            width: product.output.width,
            output: UnsafeSlice::new(product.output.values_mut()),
            x: product.x,
            first: 0,
            count: product
                .among
                .map_or_else(|| product.layer.matrix.tiles(), <[_]>::len),
        })
        .collect();
    // Enough items that a preempted thread delays the others little, few enough to stream through memory.
    let tiles: usize = products.iter().map(|product| product.count).sum();
    let share = tiles.div_ceil(8 * pool.threads());
    let items = |product: &TileRange<'_>| product.count.div_ceil(share);
    let count: usize = products.iter().map(items).sum();
    pool.for_each(count, &|item| {
        let mut item = striped(item, count, pool.threads());
        for product in &products {
            if item < items(product) {
                let first = item * share;
                let count = share.min(product.count - first);
                let tiles = TileRange {
                    first,
                    count,
                    ..*product
                };
                return multiply_tiles(tiles, tier);
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

/// The activation formats that products with matrices of these layouts need.
pub(super) fn activation_formats(layouts: impl IntoIterator<Item = Layout>) -> ActivationFormats {
    let mut formats = ActivationFormats::default();
    for layout in layouts {
        match layout {
            Layout::Quantized(_) => formats.quantized = true,
            Layout::F32 | Layout::F16 | Layout::Bf16 => formats.floats = true,
        }
    }
    formats
}

/// Computes some tiles with the kernel of the matrix's layout.
fn multiply_tiles(tiles: TileRange<'_>, tier: Tier) {
    with_blocks!(
        &tiles.layer.matrix.weights,
        quantized blocks => run_quantized(tiles, blocks.as_slice(), tier),
        float blocks => tier.run_floats(ByVectors { tiles, blocks: blocks.as_slice() })
    );
}

/// Multiplies quantized blocks: many rows with AMX tiles, if the tier has them.
fn run_quantized<B: QuantizedLayout + Block<X = QuantizedX> + Blocks>(
    tiles: TileRange<'_>,
    blocks: &[B],
    tier: Tier,
) {
    #[cfg(target_arch = "x86_64")]
    if tier.multiplies_by_tiles(tiles.x.rows()) {
        return tier.run_by_tiles(ByTiles { tiles, blocks });
    }
    tier.run(ByVectors { tiles, blocks });
}

/// Some tiles of a product, computed with vector instructions.
struct ByVectors<'a, B> {
    tiles: TileRange<'a>,
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
        for position in self.tiles.positions() {
            let tile = self.tiles.tile_at(position);
            for group in groups(x.rows(), S::ROWS) {
                for (&(layer, blocks), sums) in layers[..count].iter().zip(&mut sums) {
                    let blocks = &blocks[layer.matrix.blocks_of(tile)];
                    for_rows!(group, up to S::ROWS, [1 2 3 4 5 6 7 8], M => {
                        sum_blocks::<S, B, M>(blocks, B::X::blocks(x, group), sums);
                    });
                    add_bias::<S>(layer, tile, group, sums);
                }
                self.tiles.finish::<S>(position, group, &sums);
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
