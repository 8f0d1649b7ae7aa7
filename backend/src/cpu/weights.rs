//! Packed weights of every layout: the one table of layouts, and what derives from it.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

use super::blocks::{Block, multiply_floats, multiply_quantized};
use super::layouts::{
    Affine2Halves, Affine4, Affine5, BLOCK, Bf16Block, E2m1, E2m1Halves, F16Block, F32Block,
    Iq1Halves, Iq2Halves, Iq3S, Iq3Xxs, NonLinear4, Symmetric6, Symmetric8,
};
use super::memory::Frozen;
use super::rows::QuantizedX;
use super::simd::Simd;
use crate::StorageType;
use crate::formats::{Decoder, Quantization};

/// Blocks of one of the layouts.
pub(super) trait Blocks: Sized {
    /// The blocks, if they are of this layout.
    fn of(weights: &Weights) -> Option<&[Self]>;
    /// Blocks as weights of this layout.
    fn into_weights(blocks: Frozen<Self>) -> Weights;
}

/// Declares the layouts: those of integers are named as the [`Quantization`] that they store. The first token is a dollar sign,
/// which a macro within a macro needs.
macro_rules! layouts {
    ($d:tt quantized { $($quantized:ident,)* } float { $($float:ident => $floats:ident,)* }) => {
        /// The tiles of a matrix in their order, each with all its blocks; the last one is padded with zeros.
        #[derive(Clone)]
        pub(super) enum Weights {
            $($quantized(Frozen<$quantized>),)*
            $($float(Frozen<$floats>),)*
        }

        /// Evaluates an expression with the blocks of a matrix, whatever their layout; `quantized` and `float` blocks may have
        /// separate expressions.
        macro_rules! with_blocks {
            ($d weights:expr, $d blocks:ident => $d body:expr) => {
                with_blocks!($d weights, quantized $d blocks => $d body, float $d blocks => $d body)
            };
            (
                $d weights:expr,
                quantized $d blocks:ident => $d of_quantized:expr,
                float $d floats:ident => $d of_floats:expr
            ) => {
                match $d weights {
                    $($crate::cpu::weights::Weights::$quantized($d blocks) => $d of_quantized,)*
                    $($crate::cpu::weights::Weights::$float($d floats) => $d of_floats,)*
                }
            };
        }
        pub(super) use with_blocks;

        layouts!(blocks: $($quantized => $quantized,)* $($float => $floats,)*);
        layouts!(products: $($quantized: QuantizedX => multiply_quantized,)*);
        layouts!(products: $($floats: [f32; BLOCK] => multiply_floats,)*);

        impl Layout {
            /// Bytes of a block.
            pub(super) fn block_bytes(self) -> usize {
                match self {
                    $(Self::Quantized(Quantization::$quantized) => size_of::<$quantized>(),)*
                    $(Self::$float => size_of::<$floats>(),)*
                }
            }
        }

        /// Calls a method with the blocks of a quantization as its type.
        macro_rules! for_quantization {
            ($d quantization:expr, $d blocks:ident => $d body:expr) => {
                match $d quantization {
                    $(Quantization::$quantized => {
                        type $d blocks = $crate::cpu::layouts::$quantized;
                        $d body
                    })*
                }
            };
        }
        pub(super) use for_quantization;
    };
    (products: $($block:ident: $x:ty => $multiply:ident,)*) => {
        $(impl Block for $block {
            type X = $x;

            #[inline(always)]
            fn multiply<S: Simd, const M: usize>(&self, x: &[$x; M], sums: &mut [S::Floats; M]) {
                $multiply::<S, Self, M>(self, x, sums);
            }
        })*
    };
    (blocks: $($layout:ident => $block:ident,)*) => {
        $(impl Blocks for $block {
            fn of(weights: &Weights) -> Option<&[Self]> {
                match weights {
                    Weights::$layout(blocks) => Some(blocks.as_slice()),
                    _ => None,
                }
            }

            fn into_weights(blocks: Frozen<Self>) -> Weights {
                Weights::$layout(blocks)
            }
        })*

        impl Weights {
            /// The name of the layout.
            pub(super) fn layout(&self) -> &'static str {
                match self {
                    $(Self::$layout(_) => stringify!($layout),)*
                }
            }

            /// The weights in a layout of this name that these bytes of a mapped file hold.
            pub(super) fn of_file(layout: &str, map: &Arc<Mmap>, bytes: Range<usize>) -> Option<Self> {
                match layout {
                    $(stringify!($layout) => Frozen::of_file(map, bytes).map(Self::$layout),)*
                    _ => None,
                }
            }
        }
    };
}

layouts! {
    $
    quantized {
        Affine2Halves,
        Affine4,
        Affine5,
        Symmetric6,
        Symmetric8,
        NonLinear4,
        E2m1,
        E2m1Halves,
        Iq3S,
        Iq3Xxs,
        Iq2Halves,
        Iq1Halves,
    }
    float {
        F32 => F32Block,
        F16 => F16Block,
        Bf16 => Bf16Block,
    }
}

impl Weights {
    /// The weights as bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        with_blocks!(self, blocks => bytemuck::cast_slice(blocks.as_slice()))
    }
}

/// The layout that weights are packed in: for each kind of floats one, and for each kind of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    F32,
    F16,
    Bf16,
    Quantized(Quantization),
}

impl Layout {
    /// The layout of a storage type; formats without one of their own are held in 8 bits.
    pub(super) fn of(storage: StorageType) -> Self {
        match storage {
            StorageType::F32 => Self::F32,
            StorageType::F16 => Self::F16,
            StorageType::BF16 => Self::Bf16,
            _ => Self::Quantized(match storage.format().decoder {
                Decoder::Quants(quantization, _) => quantization,
                Decoder::Values(_) => Quantization::Symmetric8,
            }),
        }
    }
}
