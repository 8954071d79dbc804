//! Loads NVIDIA's driver library at run time. candle links against `libcuda.so.1`, which exists only on machines with a
//! driver, so a program built for CUDA would not start elsewhere. This file defines functions of the same names, which the
//! linker finds first; each jumps to the library's function once it is loaded, and returns an error before.
//! `scripts/check-cuda.sh` fails when candle calls a function that is not listed here.
#![expect(unsafe_code, reason = "functions of a C library, found by name")]

use std::{
    ffi::{CStr, c_int, c_void},
    sync::atomic::{AtomicPtr, Ordering},
};

/// `CUDA_ERROR_STUB_LIBRARY`, which NVIDIA's own stub library returns.
const STUB: c_int = 34;

extern "C" fn closed() -> c_int {
    STUB
}

/// Defines one function per name, which jumps to the address in its entry of [`CALLS`].
macro_rules! calls {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(concat!(stringify!($name), "\0")),*];

        static CALLS: [AtomicPtr<c_void>; NAMES.len()] =
            [const { AtomicPtr::new(closed as *const () as *mut c_void) }; NAMES.len()];

        std::arch::global_asm!(
            ".set homereel_call, 0",
            ".macro homereel_driver_call name",
            ".globl \\name",
            ".type \\name, %function",
            "\\name:",
            #[cfg(target_arch = "x86_64")]
            "jmp qword ptr [rip + {calls} + homereel_call]",
            #[cfg(target_arch = "aarch64")]
            "adrp x16, {calls} + homereel_call",
            #[cfg(target_arch = "aarch64")]
            "add x16, x16, :lo12:{calls} + homereel_call",
            #[cfg(target_arch = "aarch64")]
            "ldr x16, [x16]",
            #[cfg(target_arch = "aarch64")]
            "br x16",
            ".set homereel_call, homereel_call + 8",
            ".endm",
            ".text",
            ".balign 4",
            $(concat!("homereel_driver_call ", stringify!($name)),)*
            calls = sym CALLS,
        );
    };
}

calls! {
    cuCtxCreate_v3 cuCtxCreate_v4 cuCtxDestroy_v2 cuCtxGetCacheConfig cuCtxGetCurrent cuCtxGetLimit
    cuCtxGetStreamPriorityRange cuCtxSetCacheConfig cuCtxSetCurrent cuCtxSetFlags cuCtxSetLimit
    cuCtxSynchronize cuDestroyExternalMemory cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount
    cuDeviceGetDefaultMemPool cuDeviceGetMemPool cuDeviceGetName cuDeviceGetUuid cuDeviceGetUuid_v2
    cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuDeviceSetMemPool cuDeviceTotalMem_v2
    cuEventCreate cuEventDestroy_v2 cuEventElapsedTime cuEventElapsedTime_v2 cuEventQuery cuEventRecord
    cuEventSynchronize cuExternalMemoryGetMappedBuffer cuFuncGetAttribute cuFuncSetAttribute
    cuFuncSetCacheConfig cuGetErrorName cuGetErrorString cuGraphDestroy cuGraphExecDestroy
    cuGraphInstantiateWithFlags cuGraphLaunch cuGraphUpload cuImportExternalMemory cuInit
    cuLaunchCooperativeKernel cuLaunchHostFunc cuLaunchKernel cuMemAdvise_v2 cuMemAllocAsync
    cuMemAllocFromPoolAsync cuMemAllocManaged cuMemAlloc_v2 cuMemFreeAsync cuMemFreeHost cuMemFree_v2
    cuMemGetInfo_v2 cuMemHostAlloc cuMemPoolCreate cuMemPoolDestroy cuMemPoolGetAttribute
    cuMemPoolSetAttribute cuMemPoolTrimTo cuMemPrefetchAsync_v2 cuMemcpyDtoDAsync_v2 cuMemcpyDtoD_v2
    cuMemcpyDtoHAsync_v2 cuMemcpyDtoH_v2 cuMemcpyHtoDAsync_v2 cuMemcpyHtoD_v2 cuMemcpyPeerAsync
    cuMemsetD8Async cuMemsetD8_v2 cuModuleGetFunction cuModuleGetGlobal_v2 cuModuleLoad cuModuleLoadData
    cuModuleUnload cuOccupancyAvailableDynamicSMemPerBlock cuOccupancyMaxActiveBlocksPerMultiprocessor
    cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags cuOccupancyMaxActiveClusters
    cuOccupancyMaxPotentialBlockSize cuOccupancyMaxPotentialBlockSizeWithFlags
    cuOccupancyMaxPotentialClusterSize cuProfilerStart cuProfilerStop cuStreamAttachMemAsync
    cuStreamBeginCapture_v2 cuStreamCreate cuStreamCreateWithPriority cuStreamDestroy_v2 cuStreamEndCapture
    cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent
}

/// Loads the driver's library. Later calls have no effect.
///
/// # Errors
/// The loader's message when the library is missing.
pub(super) fn open() -> Result<(), String> {
    // SAFETY: the name is a C string; the library's initialisers are NVIDIA's, which every CUDA program runs.
    let library = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return Err(last_error());
    }
    for (name, call) in NAMES.iter().zip(&CALLS) {
        // SAFETY: `library` was opened above and is never closed; `name` ends with a zero.
        let function = unsafe { libc::dlsym(library, name.as_ptr().cast()) };
        // Functions that an older driver lacks keep returning an error.
        if !function.is_null() {
            call.store(function, Ordering::Release);
        }
    }
    Ok(())
}

fn last_error() -> String {
    // SAFETY: the text belongs to the loader, stays until this thread's next call of it, and is copied here.
    let said = unsafe { libc::dlerror() };
    if said.is_null() {
        return "libcuda.so.1 can't be opened".into();
    }
    // SAFETY: as above; it is not null.
    unsafe { CStr::from_ptr(said) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use candle_core::cuda_backend::cudarc::driver::sys::CUresult;

    use super::STUB;

    #[test]
    fn a_function_of_a_closed_library_returns_an_error() {
        assert_eq!(CUresult::CUDA_ERROR_STUB_LIBRARY as i32, STUB);
    }
}
