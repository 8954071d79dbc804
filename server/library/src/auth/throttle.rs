//! Throttles failed logins per address: five are free, then the wait doubles with each, up to five minutes.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::error::AuthError;

/// Failed attempts without a wait.
const FREE: u32 = 5;
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(300);
/// Time after which failed attempts are forgotten.
const MEMORY: Duration = Duration::from_secs(3600);
/// Addresses that are tracked; further ones share one entry.
const ADDRESSES: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Tries {
    failed: u32,
    last: Instant,
}

/// Failed attempts of all addresses.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    tries: Mutex<HashMap<Option<IpAddr>, Tries>>,
}

impl Throttle {
    /// Fails for an address that has to wait.
    pub(super) fn check(&self, from: Option<IpAddr>) -> Result<(), AuthError> {
        let tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            tries.get(&from).or_else(|| (tries.len() >= ADDRESSES).then(|| tries.get(&None)).flatten());
        let Some(known) = known else { return Ok(()) };
        let left = wait(known.failed).saturating_sub(known.last.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        Err(AuthError::TooManyTries { retry_after_s: left.as_secs() + 1 })
    }

    /// Counts a failed attempt.
    pub(super) fn failed(&self, from: Option<IpAddr>) {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        tries.retain(|_, tries| tries.last.elapsed() < MEMORY);
        let place = if tries.len() < ADDRESSES || tries.contains_key(&from) { from } else { None };
        let known = tries.entry(place).or_insert(Tries { failed: 0, last: Instant::now() });
        known.failed = known.failed.saturating_add(1);
        known.last = Instant::now();
    }

    /// Clears the failed attempts of an address after a login.
    pub(super) fn succeeded(&self, from: Option<IpAddr>) {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner).remove(&from);
    }
}

fn wait(failed: u32) -> Duration {
    let Some(over) = failed.checked_sub(FREE) else { return Duration::ZERO };
    Duration::from_secs(1 << over.min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_tries_are_free_and_others_are_not_held_back() {
        let throttle = Throttle::default();
        let guesser = Some(IpAddr::from([10, 0, 0, 1]));
        for _ in 0..FREE - 1 {
            throttle.failed(guesser);
        }
        throttle.check(guesser).unwrap();
        throttle.failed(guesser);
        let error = throttle.check(guesser).unwrap_err();
        assert!(matches!(error, AuthError::TooManyTries { retry_after_s: 1 }), "{error}");
        throttle.check(Some(IpAddr::from([10, 0, 0, 2]))).unwrap();
        throttle.succeeded(guesser);
        throttle.check(guesser).unwrap();
    }

    #[test]
    fn waits_grow_to_five_minutes_and_memory_is_bounded() {
        assert_eq!(wait(4), Duration::ZERO);
        assert_eq!(wait(7), Duration::from_secs(4));
        assert_eq!(wait(u32::MAX), LONGEST);
        let throttle = Throttle::default();
        for address in 0..2 * u32::try_from(ADDRESSES).unwrap() {
            throttle.failed(Some(IpAddr::from(address.to_be_bytes())));
        }
        assert!(throttle.tries.lock().unwrap().len() <= ADDRESSES + 1);
        // A stranger shares the place of those who did not fit.
        assert!(throttle.check(Some(IpAddr::from([200, 0, 0, 1]))).is_err());
    }
}
