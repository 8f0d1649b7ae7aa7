//! Storage formats of tensor elements: one file each, and the table of all of them.
//!
//! A format's file states its name, its number in GGUF files, its block, and how its values are decoded. Everything else
//! derives from the table at the end of this file: [`StorageType`], what GGUF files may contain, the formats that weights can
//! be quantized to on loading, and the layout in which the CPU kernels store them. To add a format, write its file and add
//! it to the table.
//!
//! Block formats are ggml's: <https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h>,
//! decoded as in `ggml-quants.c`.

mod bits;
mod codebooks;
mod float;
mod float8;
mod int4;
mod int4_g;
mod iq1_m;
mod iq1_s;
mod iq2;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod nvfp4;
mod q1_0;
mod q2_0;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod tq1_0;
mod tq2_0;

use candle_core::quantized::GgmlDType;

use crate::error::{Error, Result};
pub(crate) use iq1_s::LEVELS as IQ1_LEVELS;
pub(crate) use iq2::LEVELS as IQ2_LEVELS;
pub(crate) use iq3_s::LEVELS as IQ3_S_LEVELS;
pub(crate) use iq3_xxs::LEVELS as IQ3_XXS_LEVELS;
pub(crate) use iq4_nl::LEVELS as NON_LINEAR_LEVELS;
pub(crate) use mxfp4::LEVELS as E2M1_LEVELS;

/// The number of weights that are decoded together. ggml's blocks have 32 weights, its super-blocks 8 x 32.
pub(crate) const BLOCK: usize = 32;

/// Weights of a super-block.
const SUPER_BLOCK: usize = 256;

/// A format's name, how its blocks are stored in a file, and how they are decoded.
#[derive(Debug)]
pub(crate) struct Format {
    /// As ggml writes it.
    pub(crate) name: &'static str,
    /// Its number in GGUF files (`enum ggml_type`), if they can have it.
    pub(crate) ggml_type: Option<u32>,
    /// Elements of a block, or of a super-block; 1 for floats.
    pub(crate) block_elements: usize,
    /// Bytes of a block.
    pub(crate) block_bytes: usize,
    /// Candle's type of the same blocks: its kernels compute with them, and its quantizer writes them. `None` for floats
    /// too, since with 16-bit weights Candle would round activations to 16 bits.
    pub(crate) candle: Option<GgmlDType>,
    pub(crate) decoder: Decoder,
}

/// How a format's blocks become numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Decoder {
    /// Block by block into integers and their scales, which the CPU kernels store as they are. The function decodes the
    /// `index`-th block of a row.
    Quants(Quantization, fn(row: &[u8], index: usize) -> QuantBlock),
    /// Directly into numbers, which the CPU kernels store in 8 bits unless it is a float format.
    Values(fn(data: &[u8], values: &mut Vec<f32>)),
}

/// What the integers of a format stand for: one CPU layout each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantization {
    /// 2 bits: `scale * quant + min`, with scales and minima for each half of the block.
    Affine2Halves,
    /// 4 bits: `scale * quant + min`.
    Affine4,
    /// 5 bits: `scale * quant + min`.
    Affine5,
    /// 6 bits: `scale * (quant - 32)`, with a scale for each half of the block.
    Symmetric6,
    /// 8 bits: `scale * (quant - 128)`.
    Symmetric8,
    /// 4 bits: `scale * level`, with the levels of `IQ4_NL`.
    NonLinear4,
    /// 4 bits: `scale * level`, with twice the values of 4-bit floats (E2M1) as levels.
    E2m1,
    /// The same, with a scale for each half of the block.
    E2m1Halves,
    /// 4 bits: `scale * level`, with the levels of `IQ3_S`.
    Iq3S,
    /// 4 bits: `scale * level`, with the levels of `IQ3_XXS`.
    Iq3Xxs,
    /// 4 bits: `scale * level`, with the levels of `IQ2_XXS`, and a scale for each half of the block.
    Iq2Halves,
    /// 4 bits: `scale * level`, with the levels of `IQ1_S`, and a scale for each half of the block.
    Iq1Halves,
}

/// A block of 32 weights of one row, as integers and their scales.
pub(crate) struct QuantBlock {
    /// Non-negative, of as many bits as the [`Quantization`] says.
    pub(crate) quants: [u8; BLOCK],
    /// The scales of the block's halves; only the first is used if the block has a single scale.
    pub(crate) scales: [f32; 2],
    /// The same of their minima.
    pub(crate) mins: [f32; 2],
}

/// The level that a 4-bit index stands for.
fn level(levels: &[i8; 16], index: u8) -> f32 {
    f32::from(levels[usize::from(index & 15)])
}

impl QuantBlock {
    /// The weights as ggml computes them, up to the sign of a zero.
    fn values(&self, quantization: Quantization) -> [f32; BLOCK] {
        std::array::from_fn(|input| {
            let index = self.quants[input];
            let quant = f32::from(index);
            let half = input / (BLOCK / 2);
            let (scale, of_half) = (self.scales[0], self.scales[half]);
            match quantization {
                Quantization::Affine4 | Quantization::Affine5 => scale * quant + self.mins[0],
                Quantization::Affine2Halves => of_half * quant + self.mins[half],
                Quantization::Symmetric6 => of_half * (quant - 32.0),
                Quantization::Symmetric8 => scale * (quant - 128.0),
                Quantization::NonLinear4 => scale * level(&NON_LINEAR_LEVELS, index),
                Quantization::E2m1 => scale * level(&E2M1_LEVELS, index),
                Quantization::E2m1Halves => of_half * level(&E2M1_LEVELS, index),
                Quantization::Iq3S => scale * level(&IQ3_S_LEVELS, index),
                Quantization::Iq3Xxs => scale * level(&IQ3_XXS_LEVELS, index),
                Quantization::Iq2Halves => of_half * level(&IQ2_LEVELS, index),
                Quantization::Iq1Halves => of_half * level(&IQ1_LEVELS, index),
            }
        })
    }
}

impl Format {
    /// Appends the values of whole blocks.
    pub(super) fn decode(&self, data: &[u8], values: &mut Vec<f32>) {
        match self.decoder {
            Decoder::Quants(quantization, unpack) => {
                let blocks = data.len() / self.block_bytes * (self.block_elements / BLOCK);
                for index in 0..blocks {
                    values.extend(unpack(data, index).values(quantization));
                }
            }
            Decoder::Values(decode) => decode(data, values),
        }
    }
}

macro_rules! formats {
    ($($name:ident => $format:expr,)*) => {
        /// How a tensor's elements are stored in its file.
        ///
        /// Block formats are those of ggml; a row's length is a multiple of the block's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, missing_docs)]
        pub enum StorageType {
            $($name,)*
        }

        impl StorageType {
            /// Every storage type.
            pub const ALL: [Self; [$(Self::$name,)*].len()] = [$(Self::$name,)*];

            pub(crate) const fn format(self) -> &'static Format {
                match self {
                    $(Self::$name => &$format,)*
                }
            }
        }
    };
}

formats! {
    F32 => float::F32,
    F16 => float::F16,
    BF16 => float::BF16,
    Q4_0 => q4_0::FORMAT,
    Q4_1 => q4_1::FORMAT,
    Q5_0 => q5_0::FORMAT,
    Q5_1 => q5_1::FORMAT,
    Q8_0 => q8_0::FORMAT,
    Q2_K => q2_k::FORMAT,
    Q3_K => q3_k::FORMAT,
    Q4_K => q4_k::FORMAT,
    Q5_K => q5_k::FORMAT,
    Q6_K => q6_k::FORMAT,
    IQ1_S => iq1_s::FORMAT,
    IQ1_M => iq1_m::FORMAT,
    IQ2_XXS => iq2_xxs::FORMAT,
    IQ2_XS => iq2_xs::FORMAT,
    IQ2_S => iq2_s::FORMAT,
    IQ3_XXS => iq3_xxs::FORMAT,
    IQ3_S => iq3_s::FORMAT,
    IQ4_NL => iq4_nl::FORMAT,
    IQ4_XS => iq4_xs::FORMAT,
    MXFP4 => mxfp4::FORMAT,
    Q1_0 => q1_0::FORMAT,
    Q2_0 => q2_0::FORMAT,
    TQ1_0 => tq1_0::FORMAT,
    TQ2_0 => tq2_0::FORMAT,
    NVFP4 => nvfp4::FORMAT,
    NVFP4_S => nvfp4::SCALED,
    INT4 => int4::FORMAT,
    INT4_G => int4_g::FORMAT,
    F8_E4M3 => float8::FORMAT,
}

impl StorageType {
    /// The type's name, as ggml writes it.
    pub fn name(self) -> &'static str {
        self.format().name
    }

    /// Elements in a block; 1 for plain floats.
    pub fn block_elements(self) -> usize {
        self.format().block_elements
    }

    /// Bytes that a block takes.
    pub fn block_bytes(self) -> usize {
        self.format().block_bytes
    }

    /// Bytes that `elements` elements take; `None` if they do not fill whole blocks.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_elements()) {
            return None;
        }
        (elements / self.block_elements()).checked_mul(self.block_bytes())
    }

    /// The type with this number in GGUF files.
    pub fn from_ggml_type(number: u32) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|storage| storage.format().ggml_type == Some(number))
    }

    /// The formats that weights can be quantized to on loading.
    pub fn quantizable() -> impl Iterator<Item = Self> {
        let all = Self::ALL.into_iter();
        all.filter(|storage| storage.format().candle.is_some())
    }

    /// The format to quantize to that a setting names, in upper or lower case. A mixture of llama.cpp's (`q4_k_m`) is the
    /// format of most of its weights.
    pub(crate) fn parse_quantizable(name: &str) -> Result<Self> {
        let lower = name.to_ascii_lowercase();
        let mixture = ["_s", "_m", "_l"]
            .iter()
            .find_map(|size| lower.strip_suffix(size));
        let format = mixture
            .filter(|format| format.ends_with("_k"))
            .unwrap_or(&lower);
        Self::quantizable()
            .find(|storage| storage.name().eq_ignore_ascii_case(format))
            .ok_or_else(|| Self::not_quantizable(name))
    }

    /// The error that weights can't be quantized to this format.
    pub(super) fn not_quantizable(name: &str) -> Error {
        let mut names: Vec<_> = Self::quantizable()
            .map(|storage| storage.name().to_ascii_lowercase())
            .collect();
        let last = names.pop().unwrap_or_default();
        let expected = format!("{} or {last}", names.join(", "));
        Error::invalid("quantize", name, expected)
    }
}

impl std::fmt::Display for StorageType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use candle_core::quantized::ggml_file::qtensor_from_ggml;

    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        for (index, a) in StorageType::ALL.iter().enumerate() {
            if let Some(number) = a.format().ggml_type {
                assert_eq!(StorageType::from_ggml_type(number), Some(*a));
            }
            for b in &StorageType::ALL[..index] {
                assert_ne!(a.name(), b.name());
            }
        }
    }

    #[test]
    fn names_to_quantize_to_are_parsed_in_any_case() {
        for storage in StorageType::quantizable() {
            let name = storage.name().to_ascii_lowercase();
            assert_eq!(StorageType::parse_quantizable(&name).unwrap(), storage);
        }
        for (name, storage) in [("q4_k_m", StorageType::Q4_K), ("Q5_K_S", StorageType::Q5_K)] {
            assert_eq!(StorageType::parse_quantizable(name).unwrap(), storage);
        }
        for wrong in ["f16", "iq4_nl", "q9_9", "q4_0_m"] {
            let message = StorageType::parse_quantizable(wrong)
                .unwrap_err()
                .to_string();
            assert!(message.contains("q4_0, q4_1") && message.contains("or q6_k"));
        }
    }

    /// Candle's own decoder is the oracle of ours.
    #[test]
    fn decoders_agree_with_candle() {
        let weights: Vec<f32> = (0..4 * 256)
            .map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0)
            .collect();
        let bytes = weights.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = crate::StoredTensor {
            storage: StorageType::F32,
            shape: vec![4, 256],
            data: bytes,
        };
        for storage in StorageType::quantizable() {
            let quantized = crate::quantize(&tensor, storage).unwrap();
            let (mut own, mut expected) = (Vec::new(), Vec::new());
            storage.format().decode(&quantized.data, &mut own);
            let dtype = storage.format().candle.unwrap();
            let shape = tensor.shape.clone();
            let tensor = qtensor_from_ggml(dtype, &quantized.data, shape, &Device::Cpu).unwrap();
            let values = tensor.dequantize(&Device::Cpu).unwrap();
            expected.extend(values.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            assert_eq!(own, expected, "{storage}");
        }
    }
}
