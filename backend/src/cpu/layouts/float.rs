//! Float weights, as stored.

use bytemuck::{Pod, Zeroable};

use super::{BLOCK, Layout, from_half};
use crate::cpu::simd::{LANES, Simd};

/// A block of floats: the weights of one input after the other.
pub(in super::super) trait FloatBlock: Layout {
    /// A weight as it is stored in memory.
    type Bits: Copy + Send + Sync;

    /// The weights of one input.
    fn input_mut(&mut self, input: usize) -> &mut [Self::Bits; LANES];
    /// The weights of one input, widened.
    fn load<S: Simd>(&self, input: usize) -> S::Floats;
}

macro_rules! float_block {
    ($(#[$doc:meta])* $name:ident, $bits:ty, $widen:expr, $load:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Pod, Zeroable)]
        #[repr(transparent)]
        pub(in super::super) struct $name([[$bits; LANES]; BLOCK]);

        impl Layout for $name {
            fn weight(&self, lane: usize, input: usize) -> f32 {
                $widen(self.0[input][lane])
            }
        }

        impl FloatBlock for $name {
            type Bits = $bits;

            fn input_mut(&mut self, input: usize) -> &mut [$bits; LANES] {
                &mut self.0[input]
            }

            #[inline(always)]
            fn load<S: Simd>(&self, input: usize) -> S::Floats {
                S::$load(&self.0[input])
            }
        }
    };
}

float_block!(
    /// Single precision.
    F32Block, f32, std::convert::identity, load
);
float_block!(
    /// Half precision.
    F16Block, u16, from_half, load_f16
);
float_block!(
    /// The upper halves of single precision.
    Bf16Block, u16, from_bf16, load_bf16
);

fn from_bf16(bits: u16) -> f32 {
    half::bf16::from_bits(bits).to_f32()
}
