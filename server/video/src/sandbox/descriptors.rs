//! Closes descriptors that were inherited from the parent.
#![expect(unsafe_code, reason = "close_range has no safe crate: closing by number is unsafe by nature")]

/// Closes all descriptors but the three standard streams. Call it before anything is opened. Returns whether the
/// kernel could (Linux 5.9).
pub(crate) fn close_inherited() -> bool {
    let (first, last, flags) = (3u32, u32::MAX, 0u32);
    // SAFETY: called before anything is opened, when no object of this program owns a descriptor above 2 (the template drops
    // its own in a worker); what the libraries'
    // own initialisers may have opened is for files and devices that the sandbox keeps closed anyway.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) == 0 }
}
