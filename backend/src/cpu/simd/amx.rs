//! AMX tiles: products of whole blocks with sixteen rows, as exact integers.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18. The instructions are inline
//! assembly: their intrinsics are not stable.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::OnceLock;

use super::LANES;

/// Rows of a tile.
pub(in super::super) const TILE_ROWS: usize = 16;

/// The minimum number of rows for tiles: fewer are multiplied as fast without them, since tiles need unpacked weights.
pub(in super::super) const MIN_TILE_ROWS: usize = 32;

/// The integer sums of sixteen outputs for each of sixteen rows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in super::super) struct TileSums(pub(in super::super) [[i32; LANES]; TILE_ROWS]);

/// The weights of 32 inputs and sixteen outputs, a byte each: four inputs of each output in a vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in super::super) struct TileWeights(pub(in super::super) [[u8; 4 * LANES]; 8]);

/// `ldtilecfg`'s operand.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a tile's rows.
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Rows and bytes of a row of each tile: the sums of a block or of its first half, and of its second half; activations and
/// weights of the block; of its first half; of its second half.
const SHAPES: [(usize, usize); 8] = [
    (TILE_ROWS, 64),
    (TILE_ROWS, 64),
    (TILE_ROWS, 32),
    (8, 64),
    (TILE_ROWS, 16),
    (4, 64),
    (TILE_ROWS, 16),
    (4, 64),
];

/// Tiles configured on this thread, until dropped.
pub(in super::super) struct AmxTiles(PhantomData<*const ()>);

#[allow(
    clippy::unused_self,
    reason = "tiles are configured as long as the value lives"
)]
impl AmxTiles {
    /// Configures this thread's tiles.
    ///
    /// # Safety
    /// [`works`] must have returned true, or the caller must be [`is_right`].
    #[inline(always)]
    pub(in super::super) unsafe fn configure() -> Self {
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        for (tile, (rows, bytes)) in SHAPES.into_iter().enumerate() {
            configuration.rows[tile] = rows as u8;
            configuration.row_bytes[tile] = bytes as u16;
        }
        // SAFETY: the caller ensures that AMX works; only the configuration is read.
        unsafe {
            asm!(
                "ldtilecfg [{configuration}]",
                configuration = in(reg) &raw const configuration,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags),
            );
        }
        Self(PhantomData)
    }

    /// Starts dot products of the rows' signed bytes with the weights' unsigned ones, for each of one or two equal
    /// sub-blocks of the inputs.
    ///
    /// `x` is the first row's first byte; each next row starts `stride` bytes later.
    ///
    /// # Safety
    /// Sixteen rows of 32 bytes can be read.
    #[inline(always)]
    pub(in super::super) unsafe fn multiply(
        &self,
        sub_blocks: usize,
        x: *const i8,
        stride: usize,
        weights: &TileWeights,
    ) {
        // SAFETY: tiles are configured; the caller ensures that the rows can be read.
        unsafe {
            if sub_blocks == 1 {
                asm!(
                    "tilezero tmm0",
                    "tileloadd tmm2, [{x} + {stride}]",
                    "tileloadd tmm3, [{weights} + {line}]",
                    "tdpbsud tmm0, tmm2, tmm3",
                    x = in(reg) x,
                    stride = in(reg) stride,
                    weights = in(reg) weights,
                    line = in(reg) 64_usize,
                    out("tmm0") _, out("tmm2") _, out("tmm3") _,
                    options(nostack, preserves_flags, readonly),
                );
            } else {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tileloadd tmm4, [{x} + {stride}]",
                    "tileloadd tmm5, [{weights} + {line}]",
                    "tileloadd tmm6, [{x} + {stride} + 16]",
                    "tileloadd tmm7, [{weights} + {line} + 256]",
                    "tdpbsud tmm0, tmm4, tmm5",
                    "tdpbsud tmm1, tmm6, tmm7",
                    x = in(reg) x,
                    stride = in(reg) stride,
                    weights = in(reg) weights,
                    line = in(reg) 64_usize,
                    out("tmm0") _, out("tmm1") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, preserves_flags, readonly),
                );
            }
        }
    }

    /// Writes the sums that were started last, for each sub-block.
    #[inline(always)]
    pub(in super::super) fn finish(&self, sub_blocks: usize, [first, second]: &mut [TileSums; 2]) {
        // SAFETY: tiles are configured; a tile's sums have the size of what is written.
        unsafe {
            asm!(
                "tilestored [{sums} + {line}], tmm0",
                sums = in(reg) first,
                line = in(reg) 64_usize,
                options(nostack, preserves_flags),
            );
            if sub_blocks == 2 {
                asm!(
                    "tilestored [{sums} + {line}], tmm1",
                    sums = in(reg) second,
                    line = in(reg) 64_usize,
                    options(nostack, preserves_flags),
                );
            }
        }
    }
}

impl Drop for AmxTiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: tiles are configured.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, nomem, preserves_flags),
            );
        }
    }
}

/// Whether this CPU and system have AMX with int8, and it computes correctly.
pub(in super::super) fn works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| has_instructions() && is_permitted() && is_right())
}

fn has_instructions() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    if __cpuid_count(0, 0).eax < 7 || __cpuid_count(1, 0).ecx & OSXSAVE == 0 {
        return false;
    }
    if __cpuid_count(7, 0).edx & (AMX_TILE | AMX_INT8) != AMX_TILE | AMX_INT8 {
        return false;
    }
    // The system saves tiles on a context switch: bits 17 and 18 of XCR0.
    let state: u32;
    // SAFETY: OSXSAVE guarantees that the instruction exists.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") state, out("edx") _, options(nomem, nostack));
    }
    state >> 17 & 3 == 3
}

/// Linux permits tiles only to processes that request them (Documentation/arch/x86/xstate.rst).
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let status: isize;
    // SAFETY: the call changes only this permission.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => status,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    status == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Checks products against their definition: a machine (an emulator, say) that computes them wrongly must not use the tier.
fn is_right() -> bool {
    let byte = |i: usize, j: usize| (i * 64 + j) * 37 % 256;
    let weights = TileWeights(std::array::from_fn(|i| {
        std::array::from_fn(|j| byte(i, j) as u8)
    }));
    let x: [[i8; 32]; TILE_ROWS] =
        std::array::from_fn(|i| std::array::from_fn(|j| byte(j, i) as u8 as i8));
    let expected = |row: usize, lane: usize, inputs: Range<usize>| {
        let products = inputs.map(|input| {
            let weight = weights.0[input / 4][4 * lane + input % 4];
            i32::from(x[row][input]) * i32::from(weight)
        });
        products.sum::<i32>()
    };
    let mut found = [[TileSums([[0; LANES]; TILE_ROWS]); 2]; 2];
    // SAFETY: the CPU has the instructions and the process the permission; rows hold 32 bytes.
    unsafe {
        let tiles = AmxTiles::configure();
        tiles.multiply(1, x[0].as_ptr(), 32, &weights);
        tiles.finish(1, &mut found[0]);
        tiles.multiply(2, x[0].as_ptr(), 32, &weights);
        tiles.finish(2, &mut found[1]);
    }
    let [[whole, _], [first, second]] = found;
    (0..TILE_ROWS).all(|row| {
        (0..LANES).all(|lane| {
            whole.0[row][lane] == expected(row, lane, 0..32)
                && first.0[row][lane] == expected(row, lane, 0..16)
                && second.0[row][lane] == expected(row, lane, 16..32)
        })
    })
}
