//! A limit on the memory that many holders take together, counted in MiB.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const MIB: usize = 1 << 20;

/// Memory that is handed out MiB by MiB. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
}

impl MemoryBudget {
    /// Allows `bytes` in all, rounded up to MiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes.div_ceil(MIB).clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Takes permits until `permits` covers `bytes`. Returns whether the budget had enough.
    pub fn cover(&self, bytes: usize, permits: &mut Vec<OwnedSemaphorePermit>) -> bool {
        while permits.len() * MIB < bytes {
            match Arc::clone(&self.free).try_acquire_owned() {
                Ok(permit) => permits.push(permit),
                Err(_) => return false,
            }
        }
        true
    }
}
