//! A limit on memory that several holders share, counted in MiB.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const MIB: usize = 1 << 20;

/// A shared memory budget. Cheap to clone; clones share the budget.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
}

impl MemoryBudget {
    /// Creates a budget of `bytes`, rounded up to MiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes.div_ceil(MIB).clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Acquires permits until `permits` covers `bytes`. Returns false if the budget is exhausted.
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
