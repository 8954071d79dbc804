//! Disk space reserved for uploads before their bytes arrive, so that two uploads never count on the same space.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Mutex;

/// Bytes kept free for the database, posters and the rest of the system.
pub(crate) const RESERVE: u64 = 64 << 20;

/// The quota and what is reserved.
#[derive(Debug)]
pub(crate) struct Space {
    /// `u64::MAX` means none.
    pub(crate) quota: AtomicU64,
    pub(crate) reserved: AtomicU64,
    /// Held from the check of free space to the reservation.
    pub(crate) turn: Mutex<()>,
}

impl Default for Space {
    fn default() -> Self {
        Self { quota: AtomicU64::new(u64::MAX), reserved: AtomicU64::default(), turn: Mutex::default() }
    }
}

/// Reserved space, released on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) space: Arc<Space>,
    pub(crate) bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
