//! Weight matrices in the layouts that the kernels read: tiles of sixteen outputs, cut into blocks of 32 inputs.

use std::ops::Range;

use super::layouts::{self, BLOCK, FloatBlock, QuantizedLayout, round_to_8_bits};
use super::memory::{Arena, Frozen, UnsafeSlice};
use super::pool::Pool;
use super::simd::LANES;
use super::weights::{Blocks, Layout, Weights, for_quantization, with_blocks};
use crate::error::{Error, Result};
use crate::formats::{Decoder, QuantBlock, Quantization};
use crate::{StorageType, StoredTensor};

/// A weight matrix, packed. Clones share the weights.
#[derive(Clone)]
pub(super) struct Packed {
    /// Rows of the matrix.
    pub(super) outputs: usize,
    /// Columns of the matrix.
    pub(super) inputs: usize,
    pub(super) weights: Weights,
    /// How the checkpoint stored it.
    storage: StorageType,
}

impl Packed {
    /// Packs a matrix `[outputs, inputs]`, into memory of this arena.
    pub(super) fn new(tensor: &StoredTensor<'_>, arena: &mut Arena, pool: &Pool) -> Result<Self> {
        let &[outputs, inputs] = tensor.shape.as_slice() else {
            return Err(Error::Compute(format!(
                "a weight of shape {:?} where a matrix was expected",
                tensor.shape
            )));
        };
        let storage = tensor.storage;
        let mut packing = Packing {
            outputs,
            inputs,
            arena,
            pool,
        };
        let weights = match storage {
            StorageType::F32 => Weights::F32(packing.floats(&tensor.data, f32::from_le_bytes)?),
            StorageType::F16 => Weights::F16(packing.floats(&tensor.data, u16::from_le_bytes)?),
            StorageType::BF16 => Weights::Bf16(packing.floats(&tensor.data, u16::from_le_bytes)?),
            _ => match storage.format().decoder {
                Decoder::Quants(quantization, unpack) => {
                    packing.quantized(quantization, &tensor.data, storage, unpack)?
                }
                Decoder::Values(_) => {
                    let StoredTensor { storage, data, .. } = tensor.widened()?;
                    packing.quantized(Quantization::Symmetric8, &data, storage, round_to_8_bits)?
                }
            },
        };
        Ok(Self {
            outputs,
            inputs,
            weights,
            storage,
        })
    }

    /// A matrix that was packed before, of weights stored as `storage`; `None` if `weights` are of another shape.
    pub(super) fn of_weights(
        storage: StorageType,
        [outputs, inputs]: [usize; 2],
        weights: Weights,
    ) -> Option<Self> {
        let packed = Self {
            outputs,
            inputs,
            weights,
            storage,
        };
        let blocks = packed.tiles().checked_mul(packed.blocks())?;
        let held = with_blocks!(&packed.weights, blocks => blocks.as_slice().len());
        (blocks == held).then_some(packed)
    }

    /// The bytes that a matrix of this storage type takes when it is packed.
    pub(super) fn footprint(storage: StorageType, outputs: usize, inputs: usize) -> u64 {
        let blocks = outputs.div_ceil(LANES) as u64 * inputs.div_ceil(BLOCK) as u64;
        blocks.saturating_mul(Layout::of(storage).block_bytes() as u64)
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        with_blocks!(&self.weights, blocks => blocks.bytes())
    }

    /// How the checkpoint stored it.
    pub(super) fn storage(&self) -> StorageType {
        self.storage
    }

    /// Blocks of a tile.
    pub(super) fn blocks(&self) -> usize {
        self.inputs.div_ceil(BLOCK)
    }

    /// The range of a tile's blocks.
    pub(super) fn blocks_of(&self, tile: usize) -> Range<usize> {
        tile * self.blocks()..(tile + 1) * self.blocks()
    }

    /// Number of tiles.
    pub(super) fn tiles(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Widens the weights of one output.
    ///
    /// # Panics
    /// If there is no such output.
    pub(super) fn read_row(&self, output: usize, values: &mut [f32]) {
        let (tile, lane) = (output / LANES, output % LANES);
        let own = self.blocks_of(tile);
        with_blocks!(&self.weights, blocks => read_lane(&blocks.as_slice()[own], lane, values));
    }
}

/// Widens the weights of one lane.
fn read_lane<B: layouts::Layout>(blocks: &[B], lane: usize, values: &mut [f32]) {
    for (values, block) in values.chunks_mut(BLOCK).zip(blocks) {
        for (input, value) in values.iter_mut().enumerate() {
            *value = block.weight(lane, input);
        }
    }
}

/// A matrix being packed.
struct Packing<'a> {
    outputs: usize,
    inputs: usize,
    arena: &'a mut Arena,
    pool: &'a Pool,
}

impl Packing<'_> {
    /// Packs floats: sixteen rows side by side, tile by tile.
    fn floats<B: FloatBlock, const BYTES: usize>(
        &mut self,
        data: &[u8],
        from_bytes: impl Fn([u8; BYTES]) -> B::Bits + Sync,
    ) -> Result<Frozen<B>> {
        let values = data.as_chunks::<BYTES>().0;
        let inputs = self.inputs;
        self.tiles(|output, lane, packed: &mut [B]| {
            let row = &values[output * inputs..][..inputs];
            for (packed, row) in packed.iter_mut().zip(row.chunks(BLOCK)) {
                for (input, value) in row.iter().enumerate() {
                    packed.input_mut(input)[lane] = from_bytes(*value);
                }
            }
        })
    }

    /// Packs integers in the layout that holds them.
    fn quantized(
        &mut self,
        quantization: Quantization,
        data: &[u8],
        storage: StorageType,
        unpack: fn(&[u8], usize) -> QuantBlock,
    ) -> Result<Weights> {
        for_quantization!(quantization, Layout => {
            let blocks = self.blocks::<Layout>(data, storage, unpack)?;
            Ok(Layout::into_weights(blocks))
        })
    }

    /// Packs blocks of integers: sixteen rows side by side, tile by tile. `unpack` decodes a block of 32 weights of a row.
    fn blocks<B: QuantizedLayout>(
        &mut self,
        data: &[u8],
        storage: StorageType,
        unpack: fn(&[u8], usize) -> QuantBlock,
    ) -> Result<Frozen<B>> {
        let inputs = self.inputs;
        let whole = inputs.is_multiple_of(BLOCK);
        let row_bytes = storage.bytes(inputs).filter(|_| whole).ok_or_else(|| {
            Error::Compute(format!(
                "rows of {inputs} weights do not fill blocks of {storage}"
            ))
        })?;
        self.tiles(|output, lane, packed: &mut [B]| {
            let row = &data[output * row_bytes..][..row_bytes];
            for (index, packed) in packed.iter_mut().enumerate() {
                packed.insert(lane, &unpack(row, index));
            }
        })
    }

    /// Fills every tile: `fill` writes an output's weights to a lane of its tile's blocks.
    fn tiles<B: layouts::Layout>(
        &mut self,
        fill: impl Fn(usize, usize, &mut [B]) + Sync,
    ) -> Result<Frozen<B>> {
        let tiles = self.outputs.div_ceil(LANES);
        let blocks = self.inputs.div_ceil(BLOCK);
        let mut packed = self.arena.zeroed::<B>(tiles * blocks)?;
        let packed_blocks = UnsafeSlice::new(packed.as_mut_slice());
        self.pool.for_each(tiles, &|tile| {
            // SAFETY: every tile is visited once.
            let packed = unsafe { packed_blocks.slice_mut(tile * blocks, blocks) };
            for lane in 0..LANES.min(self.outputs - tile * LANES) {
                fill(tile * LANES + lane, lane, packed);
            }
        });
        Ok(packed.freeze())
    }
}
