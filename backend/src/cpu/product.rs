//! A product of activations with a packed matrix, its work items, and what is done to its sums.

use std::ops::Range;

use super::math::{activate, join, load_some, store_some};
use super::memory::UnsafeSlice;
use super::pack::Packed;
use super::rows::{Group, PackedActivations, Rows};
use super::simd::{LANES, Simd};
use super::weights::Blocks;
use crate::output_tiles::TILE;
use crate::{Activation, Gating};

/// The maximum number of rows that a tier multiplies at once.
pub(super) const MAX_ROWS: usize = 16;

const _: () = assert!(
    LANES == TILE,
    "a tile of outputs is what the kernels compute together"
);

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
    /// The product with this layer as gate, joined with the product; the layer's matrix has the product's layout.
    Gate(Layer<'a>, Gating),
}

/// A product and where it is written.
pub(super) struct Product<'a> {
    /// Packed in the format that the matrix needs.
    pub(super) x: &'a PackedActivations,
    pub(super) layer: Layer<'a>,
    pub(super) epilogue: Epilogue<'a>,
    /// The tiles that are computed, whose outputs follow each other; `None`: all of them.
    pub(super) among: Option<&'a [usize]>,
    pub(super) output: &'a mut Rows,
}

/// Some tiles of a product: one work item.
#[derive(Clone, Copy)]
pub(super) struct TileRange<'a> {
    pub(super) layer: Layer<'a>,
    pub(super) epilogue: Epilogue<'a>,
    pub(super) among: Option<&'a [usize]>,
    pub(super) output: UnsafeSlice<'a, f32>,
    /// Of a row of the output.
    pub(super) width: usize,
    pub(super) x: &'a PackedActivations,
    pub(super) first: usize,
    pub(super) count: usize,
}

impl<'a> TileRange<'a> {
    /// The positions of the tiles in the output.
    pub(super) fn positions(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// The tile whose outputs are at a position.
    #[inline(always)]
    pub(super) fn tile_at(&self, position: usize) -> usize {
        self.among.map_or(position, |tiles| tiles[position])
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

    /// Writes a group's products with the tile at a position, given the sums of the layer and of its gate.
    #[inline(always)]
    pub(super) fn finish<S: Simd>(&self, position: usize, group: Group, sums: &[Sums; 2]) {
        let width = self.width;
        let first = position * LANES;
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
                Epilogue::Gate(_, gating) => join::<S>(S::load(&sums[1][row]), product, gating),
            };
            // SAFETY: every tile is multiplied by one thread, and writes its own outputs.
            store_some::<S>(result, unsafe { self.output.slice_mut(index, outputs) });
        }
    }
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
