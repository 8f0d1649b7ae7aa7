//! The instructions that the kernels use: the best that the CPU has, or those that `SPECDEC_CPU_TIER` names.

use std::fmt;

use super::simd::Simd;
use super::simd::scalar::Scalar;
use crate::error::{Error, Result};

#[cfg(target_arch = "aarch64")]
use super::simd::neon::Neon;
#[cfg(target_arch = "x86_64")]
use super::simd::{amx, avx2::Avx, avx512::Avx512};

/// The environment variable that forces a tier.
const VARIABLE: &str = "SPECDEC_CPU_TIER";

/// A level of instructions. All compute the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Tier {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "aarch64")]
    NeonI8mm,
}

/// A computation that is compiled for every tier.
///
/// `run` and all that it calls must be inlined, or they are compiled without the tier's instructions.
pub(super) trait Kernel {
    fn run<S: Simd>(self);
}

impl Tier {
    /// Every tier of this architecture, the best last.
    #[cfg(target_arch = "x86_64")]
    pub const ALL: &'static [Self] = &[
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Amx,
    ];
    /// Every tier of this architecture, the best last.
    #[cfg(target_arch = "aarch64")]
    pub const ALL: &'static [Self] = &[Self::Scalar, Self::Neon, Self::NeonI8mm];
    /// Every tier of this architecture, the best last.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub const ALL: &'static [Self] = &[Self::Scalar];

    /// The tier's name, as `SPECDEC_CPU_TIER` gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Amx => "amx",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => "neon-i8mm",
        }
    }

    /// Whether this CPU has the tier's instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => has_avx2() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                has_avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Self::Avx512Vnni.is_available() && amx::works(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => {
                Self::Neon.is_available() && std::arch::is_aarch64_feature_detected!("i8mm")
            }
        }
    }

    /// The tier that `SPECDEC_CPU_TIER` names, or the best that this CPU has.
    pub fn choose() -> Result<Self> {
        let available = || Self::ALL.iter().copied().filter(|tier| tier.is_available());
        let name = std::env::var(VARIABLE).unwrap_or_default();
        if name.is_empty() {
            return Ok(available().next_back().unwrap_or(Self::Scalar));
        }
        let named = available().find(|tier| tier.name() == name);
        named.ok_or_else(|| {
            let names: Vec<&str> = available().map(Self::name).collect();
            let expected = format!("one that this processor has: {}", names.join(", "));
            Error::invalid(VARIABLE, name, expected)
        })
    }

    /// Runs a kernel with this tier's vectors.
    #[inline]
    pub(super) fn run(self, kernel: impl Kernel) {
        debug_assert!(self.is_available());
        match self {
            // SAFETY: `CpuBackend::new` accepts only tiers that are available.
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => unsafe { with_avx_vnni(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => unsafe { with_neon_i8mm(kernel) },
            _ => self.run_floats(kernel),
        }
    }

    /// Runs a kernel that multiplies no integers: tiers that differ only in those products share its code.
    #[inline]
    pub(super) fn run_floats(self, kernel: impl Kernel) {
        debug_assert!(self.is_available());
        match self {
            Self::Scalar => kernel.run::<Scalar>(),
            // SAFETY: `CpuBackend::new` accepts only tiers that are available.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::AvxVnni => unsafe { with_avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Amx => unsafe { with_avx512_vnni(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Self::Neon | Self::NeonI8mm => unsafe { with_neon(kernel) },
        }
    }

    /// Runs a kernel that multiplies with AMX tiles; its vectors are AVX-512's.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) fn run_by_tiles(self, kernel: impl Kernel) {
        debug_assert!(self == Self::Amx && self.is_available());
        // SAFETY: as above.
        unsafe { with_avx512_vnni(kernel) }
    }

    /// The maximum number of rows that a block of quantized weights is multiplied with at once, in a step of `rows` rows.
    pub(super) fn quantized_rows_at_once(self, rows: usize) -> usize {
        match (self, rows) {
            #[cfg(target_arch = "x86_64")]
            (Self::Amx, amx::MIN_TILE_ROWS..) => amx::TILE_ROWS,
            _ => self.rows_at_once(),
        }
    }

    /// Whether a step of `rows` rows is multiplied with AMX tiles.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn multiplies_by_tiles(self, rows: usize) -> bool {
        matches!((self, rows), (Self::Amx, amx::MIN_TILE_ROWS..))
    }

    /// The maximum number of rows that any block is multiplied with at once by vectors: [`Simd::ROWS`].
    pub(super) fn rows_at_once(self) -> usize {
        match self {
            Self::Scalar => Scalar::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::AvxVnni => Avx::<false>::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni | Self::Amx => Avx512::ROWS,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::<false>::ROWS,
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm => Neon::<true>::ROWS,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn with_avx2(kernel: impl Kernel) {
    kernel.run::<Avx<false>>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn with_avx_vnni(kernel: impl Kernel) {
    kernel.run::<Avx<true>>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn with_avx512_vnni(kernel: impl Kernel) {
    kernel.run::<Avx512>();
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon,dotprod")]
fn with_neon(kernel: impl Kernel) {
    kernel.run::<Neon<false>>();
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon,dotprod,i8mm")]
fn with_neon_i8mm(kernel: impl Kernel) {
    kernel.run::<Neon<true>>();
}
