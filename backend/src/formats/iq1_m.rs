//! `IQ1_M`: groups of 8 of `IQ1_S`'s codebook, with a shift each, and a 3-bit scale for every 16. The scale of all lies in the upper
//! bits of the words with the others.

use half::f16;

use super::bits::super_block;
use super::iq1_s::shifted;
use super::{BLOCK, Decoder, Format, QuantBlock, Quantization, SUPER_BLOCK};

const UPPER: usize = SUPER_BLOCK / 8;
const SCALES: usize = UPPER + SUPER_BLOCK / 16;
const BYTES: usize = SCALES + 4 * 2;

pub(super) const FORMAT: Format = Format {
    name: "IQ1_M",
    ggml_type: Some(29),
    block_elements: SUPER_BLOCK,
    block_bytes: BYTES,
    candle: None,
    decoder: Decoder::Quants(Quantization::Iq1Halves, unpack),
};

fn unpack(row: &[u8], index: usize) -> QuantBlock {
    let (bytes, block): (&[u8; BYTES], _) = super_block(row, index);
    let word =
        |word: usize| u16::from_le_bytes([bytes[SCALES + 2 * word], bytes[SCALES + 2 * word + 1]]);
    let scale = (0..4).fold(0, |bits, index| bits | word(index) >> 12 << (4 * index));
    let scale = f16::from_bits(scale).to_f32();
    let own = word(block / 2) >> (6 * (block % 2));
    let scales = [own, own >> 3].map(|own| scale * f32::from(2 * (own & 7) + 1) / 8.0);
    let mut quants = [0; BLOCK];
    for (group, quants) in quants.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let upper = bytes[UPPER + 2 * block + group / 2] >> (4 * (group % 2));
        let entry = usize::from(bytes[4 * block + group]) | usize::from(upper & 7) << 8;
        *quants = shifted(entry, upper & 8 != 0);
    }
    QuantBlock {
        quants,
        scales,
        mins: [0.0; 2],
    }
}
