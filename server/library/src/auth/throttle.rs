//! Throttles logins per address and per account. A try is counted before its password is checked, so that concurrent
//! tries are throttled as well, and stays counted unless it succeeds.
//!
//! Five tries of an address are free, then its wait doubles up to five minutes. Tries at one account from all addresses
//! together have a limit too, with waits of at most a minute. It does not apply to addresses that logged in to the account
//! before: strangers cannot lock the household out, however many addresses they have.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    error::AuthError,
    tally::{Tally, TryLimit},
};

/// The limit of one address, over all accounts.
pub(super) const ADDRESS: TryLimit = TryLimit { free: 5, longest: Duration::from_secs(300) };
/// The limit of one account, over all addresses that never logged in to it.
pub(super) const ACCOUNT: TryLimit = TryLimit { free: 20, longest: Duration::from_secs(60) };
/// Time after the last try after which all are forgotten.
const MEMORY: Duration = Duration::from_secs(3600);
/// Time for which an address that logged in is familiar.
const FAMILIAR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Addresses, accounts and pairs of both that are tracked.
const ENTRIES: usize = 4096;

/// What a try is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Account {
    /// The user with this name, which need not exist.
    Named(String),
    /// One-time links. Nobody can guess one, so only addresses have a limit.
    Link,
}

impl Account {
    /// Returns the account of a name as typed at login.
    pub(super) fn named(name: &str) -> Self {
        Self::Named(name.trim().to_ascii_lowercase())
    }
}

/// Names are tracked by their hash, because strangers choose them and their length.
type AccountKey = u64;
type Pair = (AccountKey, Option<IpAddr>);

/// The tries of all addresses and accounts.
#[derive(Debug)]
pub(super) struct Throttle {
    counts: Mutex<Counts>,
    names: RandomState,
    now: fn() -> Instant,
}

#[derive(Debug)]
struct Counts {
    addresses: Tally<Option<IpAddr>>,
    accounts: Tally<AccountKey>,
    /// The part of both that a login clears.
    pairs: Tally<Pair>,
    /// Addresses with a login to the account.
    familiar: Tally<Pair>,
}

/// A counted try. Dropping it leaves it counted as a failure.
#[derive(Debug)]
#[must_use]
pub(super) struct Attempt<'a> {
    throttle: &'a Throttle,
    pair: Pair,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::with_clock(Instant::now)
    }
}

impl Throttle {
    pub(super) fn with_clock(now: fn() -> Instant) -> Self {
        let counts = Counts {
            addresses: Tally::new(ENTRIES, MEMORY),
            accounts: Tally::new(ENTRIES, MEMORY),
            pairs: Tally::new(ENTRIES, MEMORY),
            familiar: Tally::new(ENTRIES, FAMILIAR),
        };
        Self { counts: Mutex::new(counts), names: RandomState::new(), now }
    }

    /// Counts a try, or fails if the address or the account has to wait.
    pub(super) fn reserve(&self, account: &Account, from: Option<IpAddr>) -> Result<Attempt<'_>, AuthError> {
        let from = from.map(network);
        let (key, now) = (self.names.hash_one(account), (self.now)());
        let pair = (key, from);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wait = counts.addresses.wait(&from, ADDRESS, now);
        if *account != Account::Link && counts.familiar.count(&pair, now) == 0 {
            wait = wait.max(counts.accounts.wait(&key, ACCOUNT, now));
        }
        if !wait.is_zero() {
            return Err(AuthError::TooManyTries { retry_after_s: wait.as_secs_f64().ceil() as u64 });
        }
        counts.addresses.add(from, now);
        counts.accounts.add(key, now);
        counts.pairs.add(pair, now);
        Ok(Attempt { throttle: self, pair })
    }
}

impl Attempt<'_> {
    /// Clears the tries of this address at this account, and only those, and makes the address familiar to it.
    pub(super) fn succeeded(self) {
        let now = (self.throttle.now)();
        let mut counts = self.throttle.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = counts.pairs.remove(&self.pair, now);
        counts.accounts.subtract(&self.pair.0, tries);
        counts.addresses.subtract(&self.pair.1, tries);
        counts.familiar.add(self.pair, now);
    }
}

/// Returns what is tracked of an address: of IPv6 the network, since each household has at least 2^64 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
    };

    use super::*;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    /// A clock that stands still.
    fn start() -> Instant {
        *START
    }

    fn address(last: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + last)))
    }

    fn household() -> Account {
        Account::named("household")
    }

    #[test]
    fn five_tries_are_free_and_others_are_not_held_back() {
        let throttle = Throttle::with_clock(start);
        for _ in 0..ADDRESS.free {
            let _ = throttle.reserve(&household(), address(1)).unwrap();
        }
        let error = throttle.reserve(&household(), address(1)).unwrap_err();
        assert!(matches!(error, AuthError::TooManyTries { retry_after_s: 1 }), "{error}");
        throttle.reserve(&household(), address(2)).unwrap().succeeded();
    }

    #[test]
    fn the_wait_ends_and_grows_to_five_minutes() {
        static SECONDS: AtomicU64 = AtomicU64::new(0);
        let throttle =
            Throttle::with_clock(|| start() + Duration::from_secs(SECONDS.load(Ordering::Relaxed)));
        let mut waits = Vec::new();
        for _ in 0..ADDRESS.free + 12 {
            while let Err(error) = throttle.reserve(&Account::named("oma"), address(1)).map(|_| ()) {
                let AuthError::TooManyTries { retry_after_s } = error else { panic!("{error}") };
                waits.push(retry_after_s);
                SECONDS.fetch_add(retry_after_s, Ordering::Relaxed);
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        SECONDS.fetch_add(MEMORY.as_secs(), Ordering::Relaxed);
        let _ = throttle.reserve(&Account::named("oma"), address(1)).unwrap();
        assert!(throttle.reserve(&Account::named("oma"), address(1)).is_ok(), "forgotten");
    }

    #[test]
    fn a_login_clears_its_own_account_only() {
        let throttle = Throttle::with_clock(start);
        let mut guesses = 0;
        for _ in 0..10 {
            guesses += (0..4).filter(|_| throttle.reserve(&household(), address(1)).is_ok()).count();
            if let Ok(own) = throttle.reserve(&Account::named("Eve"), address(1)) {
                own.succeeded();
            }
        }
        assert_eq!(guesses, ADDRESS.free as usize);
    }

    #[test]
    fn many_addresses_share_the_tries_at_one_account_and_familiar_ones_keep_their_own() {
        let throttle = Throttle::with_clock(start);
        throttle.reserve(&household(), address(1)).unwrap().succeeded();
        let guesses = (100..1000).filter(|&n| throttle.reserve(&household(), address(n)).is_ok()).count();
        assert_eq!(guesses, ACCOUNT.free as usize);
        let error = throttle.reserve(&Account::named(" Household "), address(2)).unwrap_err();
        let AuthError::TooManyTries { retry_after_s } = error else { panic!("{error}") };
        assert!(retry_after_s <= ACCOUNT.longest.as_secs());
        throttle.reserve(&household(), address(1)).unwrap().succeeded();
        // Others are not affected, and neither are one-time links.
        let _ = throttle.reserve(&Account::named("oma"), address(2)).unwrap();
        let _ = throttle.reserve(&Account::Link, address(3)).unwrap();
        let own = (0..100).filter(|_| throttle.reserve(&household(), address(1)).is_ok()).count();
        assert_eq!(own, ADDRESS.free as usize);
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_ipv4_address_is_itself() {
        let throttle = Throttle::with_clock(start);
        let of = |text: &str| Some(text.parse().unwrap());
        for n in 0..ADDRESS.free {
            let _ = throttle.reserve(&Account::named(&n.to_string()), of(&format!("2001:db8::{n}"))).unwrap();
        }
        assert!(throttle.reserve(&household(), of("2001:db8::ffff:1")).is_err());
        let _ = throttle.reserve(&household(), of("2001:db8:0:1::1")).unwrap();
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), address(1).unwrap());
    }

    #[test]
    fn memory_is_bounded_and_floods_do_not_hide_a_guesser() {
        let throttle = Throttle::with_clock(start);
        for n in 0..ACCOUNT.free {
            let _ = throttle.reserve(&household(), address(n)).unwrap();
        }
        for n in 0..3 * u32::try_from(ENTRIES).unwrap() {
            let _ = throttle.reserve(&Account::named(&format!("nobody {n}")), address(100 + n));
        }
        let counts = throttle.counts.lock().unwrap();
        let sizes = (counts.addresses.len(), counts.accounts.len(), counts.pairs.len());
        assert_eq!(sizes, (ENTRIES, ENTRIES, ENTRIES));
        drop(counts);
        assert!(throttle.reserve(&household(), address(9_999_999)).is_err());
    }
}
