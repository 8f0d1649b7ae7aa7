//! Weight matrices in the layouts that the kernels read.
//!
//! A matrix is cut into tiles of sixteen outputs, and a tile into blocks of 32 inputs: each output has a
//! lane of its own, so that sums need no steps across lanes and scales load as one vector. A vector of bytes
//! holds four neighbouring inputs of each of the sixteen outputs. Vectors come in the order of the inputs; where
//! a byte holds two weights, its lower half is of the first 16 inputs and its upper half of the last 16.

use half::f16;

use super::memory::{Buffer, Plain, Reserve, Shared};
use super::pool::Pool;
use super::simd::LANES;
use crate::error::Result;
use crate::weights::{StorageType, StoredTensor, dequantize};

/// Inputs of a block.
pub(super) const BLOCK: usize = 32;

/// 4-bit weights: `scale * quant + min`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block4 {
    pub(super) quants: [[u8; 4 * LANES]; 4],
    pub(super) scales: [u16; LANES],
    pub(super) mins: [u16; LANES],
}

/// 5-bit weights: `scale * quant + min`. Fifth bits follow each other, eight bytes to a vector of 64.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block5 {
    pub(super) quants: [[u8; 4 * LANES]; 4],
    pub(super) fifth_bits: [[u8; 8]; 8],
    pub(super) scales: [u16; LANES],
    pub(super) mins: [u16; LANES],
}

/// 6-bit weights: `scale * (quant - 32)`, with a scale for each half of the block. A byte of `upper_bits[half]`
/// holds the upper two bits of the half's four vectors, the first's lowest.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block6 {
    pub(super) quants: [[u8; 4 * LANES]; 4],
    pub(super) upper_bits: [[u8; 4 * LANES]; 2],
    pub(super) scales: [[u16; LANES]; 2],
}

/// 8-bit weights: `scale * (quant - 128)`.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Block8 {
    pub(super) quants: [[u8; 4 * LANES]; 8],
    pub(super) scales: [u16; LANES],
}

// SAFETY: numbers; the sizes are multiples of the alignments, so there is no padding.
unsafe impl Plain for Block4 {}
// SAFETY: as above.
unsafe impl Plain for Block5 {}
// SAFETY: as above.
unsafe impl Plain for Block6 {}
// SAFETY: as above.
unsafe impl Plain for Block8 {}

/// A block of 32 weights of one output, as integers and their scales.
struct Unpacked {
    /// Not negative, as many bits as the layout has.
    quants: [u8; BLOCK],
    /// Of each half of the block; where the layout has one scale, the first counts.
    scales: [f32; 2],
    min: f32,
}

/// A layout of quantized blocks.
trait QuantizedBlock: Plain {
    /// Takes in a block of one output.
    fn insert(&mut self, lane: usize, block: &Unpacked);
    /// A weight, widened.
    fn weight(&self, lane: usize, input: usize) -> f32;
}

/// Four bytes of one lane of a vector.
fn lane_bytes(vector: &mut [u8; 4 * LANES], lane: usize) -> &mut [u8] {
    &mut vector[4 * lane..4 * lane + 4]
}

/// Lower four bits of a block's quants, two in a byte.
fn insert_nibbles(vectors: &mut [[u8; 4 * LANES]; 4], lane: usize, quants: &[u8; BLOCK]) {
    let (low, high) = quants.split_at(BLOCK / 2);
    for (vector, (low, high)) in vectors.iter_mut().zip(low.chunks(4).zip(high.chunks(4))) {
        for (byte, (low, high)) in lane_bytes(vector, lane)
            .iter_mut()
            .zip(low.iter().zip(high))
        {
            *byte = low & 15 | high << 4;
        }
    }
}

fn nibble(vectors: &[[u8; 4 * LANES]; 4], lane: usize, input: usize) -> u8 {
    let byte = vectors[input % 16 / 4][4 * lane + input % 4];
    if input < 16 { byte & 15 } else { byte >> 4 }
}

fn half_bits(value: f32) -> u16 {
    f16::from_f32(value).to_bits()
}

fn widen(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

impl QuantizedBlock for Block4 {
    fn insert(&mut self, lane: usize, block: &Unpacked) {
        insert_nibbles(&mut self.quants, lane, &block.quants);
        self.scales[lane] = half_bits(block.scales[0]);
        self.mins[lane] = half_bits(block.min);
    }

    fn weight(&self, lane: usize, input: usize) -> f32 {
        let quant = nibble(&self.quants, lane, input);
        widen(self.scales[lane]) * f32::from(quant) + widen(self.mins[lane])
    }
}

impl QuantizedBlock for Block5 {
    fn insert(&mut self, lane: usize, block: &Unpacked) {
        insert_nibbles(&mut self.quants, lane, &block.quants);
        for (vector, quants) in self.fifth_bits.iter_mut().zip(block.quants.chunks(4)) {
            for (i, quant) in quants.iter().enumerate() {
                let byte = 4 * lane + i;
                vector[byte / 8] |= (quant >> 4 & 1) << (byte % 8);
            }
        }
        self.scales[lane] = half_bits(block.scales[0]);
        self.mins[lane] = half_bits(block.min);
    }

    fn weight(&self, lane: usize, input: usize) -> f32 {
        let byte = 4 * lane + input % 4;
        let fifth = self.fifth_bits[input / 4][byte / 8] >> (byte % 8) & 1;
        let quant = nibble(&self.quants, lane, input) | fifth << 4;
        widen(self.scales[lane]) * f32::from(quant) + widen(self.mins[lane])
    }
}

impl QuantizedBlock for Block6 {
    fn insert(&mut self, lane: usize, block: &Unpacked) {
        insert_nibbles(&mut self.quants, lane, &block.quants);
        for (input, quant) in block.quants.iter().enumerate() {
            let byte = &mut self.upper_bits[input / 16][4 * lane + input % 4];
            *byte |= (quant >> 4) << (2 * (input % 16 / 4));
        }
        for (scales, scale) in self.scales.iter_mut().zip(block.scales) {
            scales[lane] = half_bits(scale);
        }
    }

    fn weight(&self, lane: usize, input: usize) -> f32 {
        let upper = self.upper_bits[input / 16][4 * lane + input % 4] >> (2 * (input % 16 / 4)) & 3;
        let quant = nibble(&self.quants, lane, input) | upper << 4;
        widen(self.scales[input / 16][lane]) * (f32::from(quant) - 32.0)
    }
}

impl QuantizedBlock for Block8 {
    fn insert(&mut self, lane: usize, block: &Unpacked) {
        for (vector, quants) in self.quants.iter_mut().zip(block.quants.chunks(4)) {
            lane_bytes(vector, lane).copy_from_slice(quants);
        }
        self.scales[lane] = half_bits(block.scales[0]);
    }

    fn weight(&self, lane: usize, input: usize) -> f32 {
        let quant = self.quants[input / 4][4 * lane + input % 4];
        widen(self.scales[lane]) * (f32::from(quant) - 128.0)
    }
}

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
    fn blocks<B: QuantizedBlock>(
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

/// The `index`-th part of so many bytes.
fn part<const BYTES: usize>(row: &[u8], index: usize) -> &[u8; BYTES] {
    &row.as_chunks().0[index]
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// ggml's order of 4-bit quants: the lower halves of 16 bytes, then the upper ones.
fn split_nibbles(bytes: &[u8]) -> [u8; BLOCK] {
    std::array::from_fn(|i| {
        if i < 16 {
            bytes[i] & 15
        } else {
            bytes[i - 16] >> 4
        }
    })
}

/// Adds the fifth bits, quant by quant.
fn with_fifth_bits(mut quants: [u8; BLOCK], bits: &[u8]) -> [u8; BLOCK] {
    for (i, quant) in quants.iter_mut().enumerate() {
        *quant |= (bits[i / 8] >> (i % 8) & 1) << 4;
    }
    quants
}

fn q4_0(row: &[u8], index: usize) -> Unpacked {
    let block: &[u8; 18] = part(row, index);
    let scale = half_at(block, 0);
    Unpacked {
        quants: split_nibbles(&block[2..]),
        scales: [scale; 2],
        min: -8.0 * scale,
    }
}

fn q4_1(row: &[u8], index: usize) -> Unpacked {
    let block: &[u8; 20] = part(row, index);
    Unpacked {
        quants: split_nibbles(&block[4..]),
        scales: [half_at(block, 0); 2],
        min: half_at(block, 2),
    }
}

fn q5_0(row: &[u8], index: usize) -> Unpacked {
    let block: &[u8; 22] = part(row, index);
    let scale = half_at(block, 0);
    Unpacked {
        quants: with_fifth_bits(split_nibbles(&block[6..]), &block[2..6]),
        scales: [scale; 2],
        min: -16.0 * scale,
    }
}

fn q5_1(row: &[u8], index: usize) -> Unpacked {
    let block: &[u8; 24] = part(row, index);
    Unpacked {
        quants: with_fifth_bits(split_nibbles(&block[8..]), &block[4..8]),
        scales: [half_at(block, 0); 2],
        min: half_at(block, 2),
    }
}

fn q8_0(row: &[u8], index: usize) -> Unpacked {
    let block: &[u8; 34] = part(row, index);
    Unpacked {
        quants: std::array::from_fn(|i| block[2 + i] ^ 128),
        scales: [half_at(block, 0); 2],
        min: 0.0,
    }
}

/// The 6-bit scale and minimum of one of the eight parts of a `Q4_K` or `Q5_K` block (`get_scale_min_k4`).
fn k_scale(scales: &[u8], part: usize) -> (f32, f32) {
    let (scale, min) = if part < 4 {
        (scales[part] & 63, scales[part + 4] & 63)
    } else {
        (
            scales[part + 4] & 15 | (scales[part - 4] >> 6) << 4,
            scales[part + 4] >> 4 | (scales[part] >> 6) << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

/// The quants of one of eight parts: two parts share 32 bytes, the first has their lower halves.
fn k_nibbles(bytes: &[u8], part: usize) -> [u8; BLOCK] {
    let bytes = &bytes[part / 2 * 32..];
    std::array::from_fn(|i| bytes[i] >> (4 * (part % 2)) & 15)
}

fn q4_k(row: &[u8], index: usize) -> Unpacked {
    let (block, part): (&[u8; 144], _) = (part(row, index / 8), index % 8);
    let (scale, min) = k_scale(&block[4..16], part);
    Unpacked {
        quants: k_nibbles(&block[16..], part),
        scales: [half_at(block, 0) * scale; 2],
        min: -half_at(block, 2) * min,
    }
}

fn q5_k(row: &[u8], index: usize) -> Unpacked {
    let (block, part): (&[u8; 176], _) = (part(row, index / 8), index % 8);
    let (scale, min) = k_scale(&block[4..16], part);
    let mut quants = k_nibbles(&block[48..], part);
    for (quant, bits) in quants.iter_mut().zip(&block[16..48]) {
        *quant |= (bits >> part & 1) << 4;
    }
    Unpacked {
        quants,
        scales: [half_at(block, 0) * scale; 2],
        min: -half_at(block, 2) * min,
    }
}

/// `Q3_K`: 3-bit quants from -4 to 3, a 6-bit scale for every 16.
fn q3_k(row: &[u8], index: usize) -> Unpacked {
    let (block, part): (&[u8; 110], _) = (part(row, index / 8), index % 8);
    let (upper, lower, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let lower = &lower[part / 4 * 32..];
    let quants = std::array::from_fn(|i| {
        let bits = lower[i] >> (2 * (part % 4)) & 3;
        // A set bit means that four were not subtracted.
        32 + bits - 4 * (1 - (upper[i] >> part & 1))
    });
    let d = half_at(block, 108);
    let scale = |index: usize| {
        let low = scales[index % 8] >> (4 * (index / 8)) & 15;
        let high = scales[8 + index % 4] >> (2 * (index / 4)) & 3;
        d * (f32::from(low | high << 4) - 32.0)
    };
    Unpacked {
        quants,
        scales: [scale(2 * part), scale(2 * part + 1)],
        min: 0.0,
    }
}

/// `Q6_K`: 6-bit quants, an 8-bit scale for every 16.
fn q6_k(row: &[u8], index: usize) -> Unpacked {
    let (block, part): (&[u8; 210], _) = (part(row, index / 8), index % 8);
    let (group, part_of_group) = (part / 4, part % 4);
    let lower = &block[64 * group + 32 * (part_of_group % 2)..];
    let upper = &block[128 + 32 * group..];
    let quants = std::array::from_fn(|i| {
        let low = lower[i] >> (4 * (part_of_group / 2)) & 15;
        low | (upper[i] >> (2 * part_of_group) & 3) << 4
    });
    let d = half_at(block, 208);
    let scale = |index: usize| d * f32::from(block[192 + index] as i8);
    Unpacked {
        quants,
        scales: [scale(2 * part), scale(2 * part + 1)],
        min: 0.0,
    }
}

/// Plain f32 to 8 bits.
fn to_8_bits(row: &[u8], index: usize) -> Unpacked {
    let bytes: &[u8; 4 * BLOCK] = part(row, index);
    let values: [f32; BLOCK] = std::array::from_fn(|i| f32::from_le_bytes(*part(bytes, i)));
    let largest = values.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    Unpacked {
        quants: values.map(|x| ((x * inverse).round_ties_even() as i8 as u8) ^ 128),
        scales: [largest / 127.0; 2],
        min: 0.0,
    }
}
