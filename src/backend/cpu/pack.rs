//! Weight matrices in the layouts that the kernels read: tiles of sixteen outputs, cut into blocks of 32 inputs.

use std::ops::Range;

use super::formats::{q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0, to_8_bits};
use super::layout::{BLOCK, Block4, Block5, Block6, Block8, BlockLayout, Unpacked, widen};
use super::memory::{Buffer, Plain, Reserve, Shared};
use super::pool::Pool;
use super::simd::LANES;
use crate::error::Result;
use crate::weights::{StorageType, StoredTensor, dequantize};

/// A weight matrix, packed.
pub(super) struct Packed {
    /// Rows of the matrix.
    pub(super) outputs: usize,
    /// Columns of the matrix.
    pub(super) inputs: usize,
    pub(super) weights: Weights,
    /// How the checkpoint stored it.
    storage: StorageType,
}

/// Tiles one behind the other, each with all its blocks; the last one is filled up with zeros.
pub(super) enum Weights {
    Q4(Buffer<Block4>),
    Q5(Buffer<Block5>),
    Q6(Buffer<Block6>),
    Q8(Buffer<Block8>),
    F32(Buffer<[[f32; LANES]; BLOCK]>),
    F16(Buffer<[[u16; LANES]; BLOCK]>),
    BF16(Buffer<[[u16; LANES]; BLOCK]>),
}

impl Packed {
    /// Packs a matrix `[outputs, inputs]`, into that memory.
    pub(super) fn new(
        tensor: &StoredTensor<'_>,
        memory: &mut Reserve,
        pool: &Pool,
    ) -> Result<Self> {
        use StorageType as S;
        let &[outputs, inputs] = tensor.shape.as_slice() else {
            return Err(crate::Error::Compute(format!(
                "a weight of shape {:?} where a matrix was expected",
                tensor.shape
            )));
        };
        let (data, storage) = (&*tensor.data, tensor.storage);
        let mut packing = Packing {
            outputs,
            inputs,
            memory,
            pool,
        };
        let weights = match storage {
            S::F32 => Weights::F32(packing.floats(data, f32::from_le_bytes)?),
            S::F16 => Weights::F16(packing.floats(data, u16::from_le_bytes)?),
            S::BF16 => Weights::BF16(packing.floats(data, u16::from_le_bytes)?),
            S::Q4_0 => Weights::Q4(packing.blocks(data, storage, q4_0)?),
            S::Q4_1 => Weights::Q4(packing.blocks(data, storage, q4_1)?),
            S::Q4_K => Weights::Q4(packing.blocks(data, storage, q4_k)?),
            S::Q5_0 => Weights::Q5(packing.blocks(data, storage, q5_0)?),
            S::Q5_1 => Weights::Q5(packing.blocks(data, storage, q5_1)?),
            S::Q5_K => Weights::Q5(packing.blocks(data, storage, q5_k)?),
            S::Q3_K => Weights::Q6(packing.blocks(data, storage, q3_k)?),
            S::Q6_K => Weights::Q6(packing.blocks(data, storage, q6_k)?),
            S::Q8_0 => Weights::Q8(packing.blocks(data, storage, q8_0)?),
            // A scale and a minimum for every 16 weights, or a table of levels: finer than the 8 bits they get.
            S::Q2_K | S::IQ4_NL => {
                let values = dequantize(tensor)?;
                let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                Weights::Q8(packing.blocks(&bytes, S::F32, to_8_bits)?)
            }
        };
        Ok(Self {
            outputs,
            inputs,
            weights,
            storage: tensor.storage,
        })
    }

    /// Bytes that a matrix stored so will take.
    pub(super) fn footprint(storage: StorageType, outputs: usize, inputs: usize) -> u64 {
        use StorageType as S;
        let block = match storage {
            S::F32 => size_of::<[[f32; LANES]; BLOCK]>(),
            S::F16 | S::BF16 => size_of::<[[u16; LANES]; BLOCK]>(),
            S::Q4_0 | S::Q4_1 | S::Q4_K => size_of::<Block4>(),
            S::Q5_0 | S::Q5_1 | S::Q5_K => size_of::<Block5>(),
            S::Q3_K | S::Q6_K => size_of::<Block6>(),
            S::Q8_0 | S::Q2_K | S::IQ4_NL => size_of::<Block8>(),
        };
        let blocks = outputs.div_ceil(LANES) as u64 * inputs.div_ceil(BLOCK) as u64;
        blocks.saturating_mul(block as u64)
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Q4(blocks) => blocks.bytes(),
            Weights::Q5(blocks) => blocks.bytes(),
            Weights::Q6(blocks) => blocks.bytes(),
            Weights::Q8(blocks) => blocks.bytes(),
            Weights::F32(values) => values.bytes(),
            Weights::F16(values) | Weights::BF16(values) => values.bytes(),
        }
    }

    /// How the checkpoint stored it.
    pub(super) fn storage(&self) -> StorageType {
        self.storage
    }

    /// Blocks of a tile.
    pub(super) fn blocks(&self) -> usize {
        self.inputs.div_ceil(BLOCK)
    }

    /// Where a tile's blocks lie.
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
        let blocks = tile * self.blocks()..(tile + 1) * self.blocks();
        match &self.weights {
            Weights::Q4(all) => {
                read_blocks(&all.as_slice()[blocks], values, |b, i| b.weight(lane, i));
            }
            Weights::Q5(all) => {
                read_blocks(&all.as_slice()[blocks], values, |b, i| b.weight(lane, i));
            }
            Weights::Q6(all) => {
                read_blocks(&all.as_slice()[blocks], values, |b, i| b.weight(lane, i));
            }
            Weights::Q8(all) => {
                read_blocks(&all.as_slice()[blocks], values, |b, i| b.weight(lane, i));
            }
            Weights::F32(all) => read_blocks(&all.as_slice()[blocks], values, |b, i| b[i][lane]),
            Weights::F16(all) => {
                read_blocks(&all.as_slice()[blocks], values, |b, i| widen(b[i][lane]));
            }
            Weights::BF16(all) => read_blocks(&all.as_slice()[blocks], values, |b, i| {
                half::bf16::from_bits(b[i][lane]).to_f32()
            }),
        }
    }
}

fn read_blocks<B>(blocks: &[B], values: &mut [f32], weight: impl Fn(&B, usize) -> f32) {
    for (values, block) in values.chunks_mut(BLOCK).zip(blocks) {
        for (input, value) in values.iter_mut().enumerate() {
            *value = weight(block, input);
        }
    }
}

/// A matrix being packed.
struct Packing<'a> {
    outputs: usize,
    inputs: usize,
    memory: &'a mut Reserve,
    pool: &'a Pool,
}

impl Packing<'_> {
    /// Sixteen rows of plain numbers side by side, tile by tile.
    fn floats<T: Plain + Default, const BYTES: usize>(
        &mut self,
        data: &[u8],
        from_bytes: impl Fn([u8; BYTES]) -> T + Sync,
    ) -> Result<Buffer<[[T; LANES]; BLOCK]>> {
        let values = data.as_chunks::<BYTES>().0;
        let inputs = self.inputs;
        self.tiles(|output, lane, packed: &mut [[[T; LANES]; BLOCK]]| {
            let row = &values[output * inputs..][..inputs];
            for (packed, value) in packed.as_flattened_mut().iter_mut().zip(row) {
                packed[lane] = from_bytes(*value);
            }
        })
    }

    /// Sixteen rows of blocks side by side, tile by tile. `unpack` reads a block of 32 weights of a row.
    fn blocks<B: BlockLayout>(
        &mut self,
        data: &[u8],
        storage: StorageType,
        unpack: fn(&[u8], usize) -> Unpacked,
    ) -> Result<Buffer<B>> {
        let inputs = self.inputs;
        let whole = inputs.is_multiple_of(BLOCK);
        let row_bytes = storage.bytes(inputs).filter(|_| whole).ok_or_else(|| {
            crate::Error::Compute(format!(
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
    fn tiles<B: Plain>(
        &mut self,
        fill: impl Fn(usize, usize, &mut [B]) + Sync,
    ) -> Result<Buffer<B>> {
        let tiles = self.outputs.div_ceil(LANES);
        let blocks = self.inputs.div_ceil(BLOCK);
        let mut packed = self.memory.zeroed::<B>(tiles * blocks)?;
        let shared = Shared::new(packed.as_mut_slice());
        self.pool.for_each(tiles, &|tile| {
            // SAFETY: every tile is visited once.
            let packed = unsafe { shared.part(tile * blocks, blocks) };
            for lane in 0..LANES.min(self.outputs - tile * LANES) {
                fill(tile * LANES + lane, lane, packed);
            }
        });
        Ok(packed)
    }
}
