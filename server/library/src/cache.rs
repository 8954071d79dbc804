//! A cache bounded by bytes, which evicts the least recently used value. The server uses it for decoded clips as well.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// A cache of shared values, bounded by the bytes that they take.
#[derive(Debug)]
pub struct ByteCache<T> {
    limit: usize,
    /// Most recently used last; few enough that a scan is negligible beside a decode.
    entries: Mutex<VecDeque<CacheEntry<T>>>,
}

#[derive(Debug)]
struct CacheEntry<T> {
    key: String,
    value: Arc<T>,
    bytes: usize,
}

impl<T> ByteCache<T> {
    /// Creates a cache for values of `limit` bytes in total.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, entries: Mutex::new(VecDeque::new()) }
    }

    /// Returns the value for `key` and marks it as used.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<T>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let at = entries.iter().position(|entry| entry.key == key)?;
        let entry = entries.remove(at)?;
        let value = Arc::clone(&entry.value);
        entries.push_back(entry);
        Some(value)
    }

    /// Inserts a value of `bytes` bytes, unless it alone exceeds the limit.
    pub fn put(&self, key: String, value: Arc<T>, bytes: usize) {
        if bytes > self.limit {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.key != key);
        entries.push_back(CacheEntry { key, value, bytes });
        let mut held: usize = entries.iter().map(|entry| entry.bytes).sum();
        while held > self.limit {
            let Some(oldest) = entries.pop_front() else { return };
            held -= oldest.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::ByteCache;

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = ByteCache::new(10);
        cache.put("a".into(), Arc::new(1), 4);
        cache.put("b".into(), Arc::new(2), 4);
        assert_eq!(cache.get("a").as_deref(), Some(&1));
        cache.put("c".into(), Arc::new(3), 4);
        assert!(cache.get("b").is_none());
        assert!(cache.get("a").is_some() && cache.get("c").is_some());
    }

    #[test]
    fn what_is_past_the_limit_is_not_kept() {
        let cache = ByteCache::new(10);
        cache.put("a".into(), Arc::new(1), 4);
        cache.put("b".into(), Arc::new(2), 11);
        assert!(cache.get("a").is_some() && cache.get("b").is_none());
    }
}
