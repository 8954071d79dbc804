//! A small cache bounded by bytes; what was used longest ago goes first. Knows nothing of what it holds.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

#[derive(Debug)]
pub(crate) struct Cache<T> {
    limit: usize,
    /// Most recently used last; few enough that a scan costs nothing beside a decode.
    entries: Mutex<VecDeque<Entry<T>>>,
}

#[derive(Debug)]
struct Entry<T> {
    key: String,
    value: Arc<T>,
    bytes: usize,
}

impl<T> Cache<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, entries: Mutex::new(VecDeque::new()) }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<T>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let at = entries.iter().position(|entry| entry.key == key)?;
        let entry = entries.remove(at)?;
        let value = Arc::clone(&entry.value);
        entries.push_back(entry);
        Some(value)
    }

    /// Keeps a value of `bytes` bytes, unless it alone is past the limit.
    pub(crate) fn put(&self, key: String, value: Arc<T>, bytes: usize) {
        if bytes > self.limit {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.key != key);
        entries.push_back(Entry { key, value, bytes });
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

    use super::Cache;

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Cache::new(10);
        cache.put("a".into(), Arc::new(1), 4);
        cache.put("b".into(), Arc::new(2), 4);
        assert_eq!(cache.get("a").as_deref(), Some(&1));
        cache.put("c".into(), Arc::new(3), 4);
        assert!(cache.get("b").is_none());
        assert!(cache.get("a").is_some() && cache.get("c").is_some());
    }

    #[test]
    fn what_is_past_the_limit_is_not_kept() {
        let cache = Cache::new(10);
        cache.put("a".into(), Arc::new(1), 4);
        cache.put("b".into(), Arc::new(2), 11);
        assert!(cache.get("a").is_some() && cache.get("b").is_none());
    }
}
