//! A counter of events per key, in bounded memory, and the wait that it imposes: it doubles with each event above a free
//! number.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// How many events are free, and the longest wait after more.
#[derive(Debug, Clone, Copy)]
pub(super) struct TryLimit {
    pub(super) free: u32,
    pub(super) longest: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Events {
    count: u32,
    last: Instant,
}

/// Events per key. When it is full, a new key replaces the one with the fewest and oldest events.
#[derive(Debug)]
pub(super) struct Tally<K> {
    entries: HashMap<K, Events>,
    most: usize,
    memory: Duration,
}

impl<K: Copy + Eq + Hash> Tally<K> {
    /// Creates a tally of at most `most` keys, which forgets a key at `memory` after its last event.
    pub(super) fn new(most: usize, memory: Duration) -> Self {
        Self { entries: HashMap::new(), most, memory }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn get(&self, key: &K, now: Instant) -> Option<Events> {
        let events = self.entries.get(key).copied();
        events.filter(|events| now.duration_since(events.last) < self.memory)
    }

    /// Returns the number of events of a key.
    pub(super) fn count(&self, key: &K, now: Instant) -> u32 {
        self.get(key, now).map_or(0, |events| events.count)
    }

    /// Returns how long a key has to wait: it doubles with each event beyond the free ones.
    pub(super) fn wait(&self, key: &K, limit: TryLimit, now: Instant) -> Duration {
        let Some(events) = self.get(key, now) else { return Duration::ZERO };
        let Some(over) = events.count.checked_sub(limit.free) else { return Duration::ZERO };
        let wait = Duration::from_secs(1 << over.min(16)).min(limit.longest);
        wait.saturating_sub(now.duration_since(events.last))
    }

    /// Counts an event.
    pub(super) fn add(&mut self, key: K, now: Instant) {
        let count = self.count(&key, now).saturating_add(1);
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        self.entries.insert(key, Events { count, last: now });
    }

    /// Forgets the events of a key and returns their number.
    pub(super) fn remove(&mut self, key: &K, now: Instant) -> u32 {
        let count = self.count(key, now);
        self.entries.remove(key);
        count
    }

    /// Takes back `count` events of a key.
    pub(super) fn subtract(&mut self, key: &K, count: u32) {
        if let Some(events) = self.entries.get_mut(key) {
            events.count = events.count.saturating_sub(count);
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.entries.retain(|_, events| now.duration_since(events.last) < self.memory);
        let least = self.entries.iter().min_by_key(|(_, events)| (events.count, events.last));
        if self.entries.len() >= self.most
            && let Some(key) = least.map(|(key, _)| *key)
        {
            self.entries.remove(&key);
        }
    }
}
