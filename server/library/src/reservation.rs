//! Disk space reserved for uploads before their bytes arrive, so that two uploads never count on the same space.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Mutex;

/// Bytes kept free for the database, posters and the rest of the system.
pub(crate) const RESERVE: u64 = 64 << 20;

/// What space is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpaceUse {
    /// A video of the library.
    Video,
    /// A file that requests name by its id.
    File,
    /// A file of one request. Only the disk limits it.
    Scratch,
}

/// The quotas and what is reserved. A quota of `u64::MAX` means none.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) quota: AtomicU64,
    /// Maximum size of all files.
    pub(crate) files_quota: AtomicU64,
    /// Reserved for videos and files.
    pub(crate) reserved: AtomicU64,
    /// The part of it that is reserved for files.
    pub(crate) reserved_for_files: AtomicU64,
    /// Held from the check of free space to the reservation.
    pub(crate) turn: Mutex<()>,
}

impl Default for Space {
    fn default() -> Self {
        Self {
            quota: AtomicU64::new(u64::MAX),
            files_quota: AtomicU64::new(u64::MAX),
            reserved: AtomicU64::default(),
            reserved_for_files: AtomicU64::default(),
            turn: Mutex::default(),
        }
    }
}

/// Reserved space, released on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    space: Arc<Space>,
    pub(crate) space_use: SpaceUse,
    pub(crate) bytes: u64,
}

impl Reservation {
    pub(crate) fn new(space: &Arc<Space>, space_use: SpaceUse, bytes: u64) -> Self {
        let mut reservation = Self { space: Arc::clone(space), space_use, bytes: 0 };
        reservation.grow(bytes);
        reservation
    }

    pub(crate) fn grow(&mut self, more: u64) {
        for reserved in self.counters() {
            reserved.fetch_add(more, Ordering::Relaxed);
        }
        self.bytes += more;
    }

    fn counters(&self) -> impl Iterator<Item = &AtomicU64> {
        let all = (self.space_use != SpaceUse::Scratch).then_some(&self.space.reserved);
        all.into_iter().chain((self.space_use == SpaceUse::File).then_some(&self.space.reserved_for_files))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        for reserved in self.counters() {
            reserved.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}
