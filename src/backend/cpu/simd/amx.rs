//! AMX tiles: products of whole blocks with up to sixteen rows, as exact integers.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18. The instructions are inline
//! assembly: their intrinsics are not stable.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use super::LANES;

/// Rows of a tile.
pub(in super::super) const TILE_ROWS: usize = 16;

/// Integer sums of sixteen outputs for each of up to sixteen rows.
pub(in super::super) type TileSums = [[i32; LANES]; TILE_ROWS];

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

/// Tiles configured on this thread, until dropped.
pub(in super::super) struct Tiles {
    rows: usize,
    vectors: usize,
}

impl Tiles {
    /// Configures tiles for products of so many rows (at most sixteen) with so many vectors of weights (at most
    /// sixteen), each of four inputs of sixteen outputs.
    ///
    /// # Safety
    /// [`works`] must have returned true.
    #[inline(always)]
    pub(in super::super) unsafe fn configure(rows: usize, vectors: usize) -> Self {
        debug_assert!((1..=TILE_ROWS).contains(&rows) && (1..=16).contains(&vectors));
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        // Tile 0 holds the sums, tile 1 the activations, tile 2 the weights.
        let shapes = [(rows, 64), (rows, 4 * vectors), (vectors, 64)];
        for (tile, (rows, bytes)) in shapes.into_iter().enumerate() {
            configuration.rows[tile] = rows as u8;
            configuration.row_bytes[tile] = bytes as u16;
        }
        // SAFETY: the caller's promise; reads the configuration alone.
        unsafe {
            asm!(
                "ldtilecfg [{configuration}]",
                configuration = in(reg) &raw const configuration,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags),
            );
        }
        Self { rows, vectors }
    }

    /// Dot products of the rows' signed bytes with the weights' unsigned ones.
    ///
    /// `x` is the first row's first byte; the others follow at a distance of `stride` bytes each.
    ///
    /// # Safety
    /// Each row holds four bytes for every vector that the tiles were configured with.
    #[inline(always)]
    pub(in super::super) unsafe fn multiply(
        &self,
        x: *const i8,
        stride: usize,
        weights: &[[u8; 4 * LANES]],
        sums: &mut TileSums,
    ) {
        assert!(weights.len() >= self.vectors && self.rows <= sums.len());
        // SAFETY: tiles are configured; what is read and written lies in the operands, by the caller's promise
        // and the check.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tileloadd tmm1, [{x} + {stride}]",
                "tileloadd tmm2, [{weights} + {line}]",
                "tdpbsud tmm0, tmm1, tmm2",
                "tilestored [{sums} + {line}], tmm0",
                x = in(reg) x,
                stride = in(reg) stride,
                weights = in(reg) weights.as_ptr(),
                sums = in(reg) sums.as_mut_ptr(),
                line = in(reg) 64_usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _,
                options(nostack, preserves_flags),
            );
        }
    }
}

impl Drop for Tiles {
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

/// Whether this processor and system have AMX with bytes, and it computes what it should.
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
    // The system saves tiles when it changes threads: bits 17 and 18 of XCR0.
    let state: u32;
    // SAFETY: OSXSAVE says that the instruction is there.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") state, out("edx") _, options(nomem, nostack));
    }
    state >> 17 & 3 == 3
}

/// Linux gives the tiles' memory only to processes that ask for it (Documentation/arch/x86/xstate.rst).
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let status: isize;
    // SAFETY: the call changes nothing but this permission.
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

/// A product against its definition: no machine is trusted with a tier that it gets wrong.
fn is_right() -> bool {
    let weights: [[u8; 64]; 8] =
        std::array::from_fn(|i| std::array::from_fn(|j| ((i * 64 + j) * 37 % 256) as u8));
    let x: [[i8; 32]; TILE_ROWS] =
        std::array::from_fn(|i| std::array::from_fn(|j| ((i * 32 + j) * 53 % 255) as u8 as i8));
    [(TILE_ROWS, 8), (9, 4)].into_iter().all(|(rows, vectors)| {
        let mut sums = [[0; LANES]; TILE_ROWS];
        // SAFETY: the processor has the instructions and the process its permission; rows hold 32 bytes.
        unsafe { Tiles::configure(rows, vectors).multiply(x[0].as_ptr(), 32, &weights, &mut sums) };
        (0..rows).all(|row| {
            (0..LANES).all(|lane| {
                let products = (0..4 * vectors).map(|input| {
                    let weight = weights[input / 4][4 * lane + input % 4];
                    i32::from(x[row][input]) * i32::from(weight)
                });
                sums[row][lane] == products.sum::<i32>()
            })
        })
    })
}
