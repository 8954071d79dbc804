//! A limit on memory that several holders share, counted in blocks of 16 KiB.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const BLOCK: usize = 16 << 10;

/// A shared memory budget. Cheap to clone; clones share the budget.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
}

impl MemoryBudget {
    /// Creates a budget of `bytes`, rounded up to blocks.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes.div_ceil(BLOCK).clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Acquires permits until `permits` covers `bytes`. Returns false if the budget is exhausted.
    pub fn cover(&self, bytes: usize, permits: &mut Vec<OwnedSemaphorePermit>) -> bool {
        let held: usize = permits.iter().map(OwnedSemaphorePermit::num_permits).sum();
        let Some(missing) = bytes.div_ceil(BLOCK).checked_sub(held).filter(|missing| *missing > 0) else {
            return true;
        };
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        match Arc::clone(&self.free).try_acquire_many_owned(missing) {
            Ok(permit) => {
                permits.push(permit);
                true
            }
            Err(_) => false,
        }
    }

    /// Returns the free part of the budget in bytes.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.available_permits() * BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_holders_hold_little_and_everything_is_returned() {
        let budget = MemoryBudget::new(10 * BLOCK);
        let (mut small, mut large) = (Vec::new(), Vec::new());
        assert!(budget.cover(1, &mut small) && budget.cover(2, &mut small));
        assert_eq!(budget.free(), 9 * BLOCK);
        assert!(budget.cover(3 * BLOCK, &mut large) && budget.cover(9 * BLOCK, &mut large));
        assert!(!budget.cover(BLOCK + 1, &mut small), "exhausted");
        drop((small, large));
        assert_eq!(budget.free(), 10 * BLOCK);
    }
}
