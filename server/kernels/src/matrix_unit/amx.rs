//! Intel's matrix unit (AMX) on Linux: whether this process can use it, and the product of two packed blocks on it.

#![expect(unsafe_code, reason = "the standard library has no stable functions for the matrix unit")]

use std::arch::{asm, x86_64::__cpuid_count};
use std::sync::OnceLock;

use super::{BLOCK, Line, Sums, TILE};

/// How all eight tiles are used: with 16 rows of 64 bytes.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 8],
    unused_bytes: [u16; 8],
    rows: [u8; 8],
    unused_rows: [u8; 8],
}

static CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_per_row: [64; 8],
    unused_bytes: [0; 8],
    rows: [TILE as u8; 8],
    unused_rows: [0; 8],
};

/// The matrix unit, on a machine that has one and lets this process use it.
#[derive(Clone, Copy)]
pub(crate) struct MatrixUnit(());

impl MatrixUnit {
    /// Returns the unit. `None` means that the processor has none for bf16, or that the kernel does not permit its use.
    pub(super) fn get() -> Option<Self> {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        AVAILABLE.get_or_init(|| has_instructions() && request_permission()).then_some(Self(()))
    }

    /// Adds to `sums` the products of 32 rows of `left` (sums' rows) and 32 rows of `right` (its columns). Both consist of
    /// steps of 32 values: in `left`, a step is two tiles with one row of values per line; in `right`, it is two tiles with
    /// one pair of values per line, for 16 rows.
    #[inline(never)]
    pub(super) fn multiply(self, left: &[Line], right: &[Line], sums: &mut Sums) {
        assert!(left.len() == right.len() && left.len().is_multiple_of(BLOCK), "whole steps");
        let steps = left.len() / BLOCK;
        if steps == 0 {
            return;
        }
        // SAFETY: `self` exists only where the processor has these instructions and the kernel saves the tiles of this
        // process. The loop reads 32 lines of 64 bytes from `left` and from `right` in each of its `steps`, which the
        // assertion has checked. The sums are two times two tiles of 16 x 64 bytes, with 128 bytes from row to row, which is
        // `Sums`. A prefetch behind the end of `right` has no effect. Configuration and tiles are released at the end.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                "tileloadd tmm0, [{sums} + {row}]",
                "tileloadd tmm1, [{sums} + {row} + 64]",
                "tileloadd tmm2, [{sums} + {row} + 2048]",
                "tileloadd tmm3, [{sums} + {row} + 2112]",
                "2:",
                "tileloadd tmm4, [{left} + {line}]",
                "tileloadd tmm6, [{right} + {line}]",
                "tileloadd tmm7, [{right} + {line} + 1024]",
                ".irp at, 0, 64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960",
                "prefetcht0 [{right} + 2048 + \\at]",
                ".endr",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{left} + {line} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                ".irp at, 0, 64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960",
                "prefetcht0 [{right} + 3072 + \\at]",
                ".endr",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {left}, 2048",
                "add {right}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {row}], tmm0",
                "tilestored [{sums} + {row} + 64], tmm1",
                "tilestored [{sums} + {row} + 2048], tmm2",
                "tilestored [{sums} + {row} + 2112], tmm3",
                "tilerelease",
                config = in(reg) &raw const CONFIG,
                left = inout(reg) left.as_ptr() => _,
                right = inout(reg) right.as_ptr() => _,
                line = in(reg) size_of::<Line>(),
                steps = inout(reg) steps => _,
                sums = in(reg) sums.0.as_mut_ptr(),
                row = in(reg) size_of::<[f32; BLOCK]>(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

/// Returns whether the processor has tiles and products of bf16.
fn has_instructions() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let most = __cpuid_count(0, 0).eax;
    most >= 7 && __cpuid_count(7, 0).edx & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
}

/// Asks the kernel to save the tiles of this process's threads, without which their use is an illegal instruction. The kernel
/// refuses where it does not know them.
fn request_permission() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes only what the kernel saves.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}
