//! Caps on connections, in all and per address, and which connection makes room for a new one.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::live::Live;

/// Most connections that the default allows.
const DEFAULT_MOST: usize = 4096;

/// Default cap per address.
const DEFAULT_PER_ADDRESS: usize = 256;

/// Descriptors that are not used for connections: the database, workers, files in transfer.
const RESERVE: u64 = 256;

/// Caps on connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections in all.
    pub total: usize,
    /// Connections of one address, and concurrent requests of one client behind a trusted proxy.
    pub per_address: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { total: DEFAULT_MOST, per_address: DEFAULT_PER_ADDRESS }
    }
}

impl ConnectionLimits {
    /// Raises this process's soft limit of open files to the hard limit, and returns limits that leave a reserve of
    /// descriptors for the server itself. `total` and `per_address` override the defaults.
    ///
    /// # Errors
    /// When `total` does not fit below the limit of open files: the message has both values.
    pub fn within_descriptors(total: Option<usize>, per_address: Option<usize>) -> Result<Self, String> {
        let files = raise_open_files();
        let reserve = RESERVE.max(files / 8).min(files / 2);
        let most = usize::try_from(files - reserve).unwrap_or(usize::MAX);
        if let Some(total) = total
            && total > most
        {
            return Err(format!(
                "max_connections is {total}, but the limit of open files is {files}; at most {most} would fit"
            ));
        }
        let total = total.unwrap_or(DEFAULT_MOST.min(most));
        Ok(Self { total, per_address: per_address.unwrap_or(DEFAULT_PER_ADDRESS).min(total) })
    }
}

fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // `None` is unlimited.
    current.unwrap_or(1 << 20)
}

/// What a connection does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connected, nothing received yet.
    New,
    /// The last request is answered, nothing received since.
    Idle,
    /// A request's header section is being received.
    Head,
    /// A request is being handled.
    Busy,
}

/// The phase of one connection, shared by its stream and its service.
#[derive(Debug)]
pub(super) struct ConnectionState {
    phase: Mutex<(Phase, Instant)>,
    /// The connection's task, while it waits for the end of a request.
    waiting: Mutex<Option<Waker>>,
}

impl ConnectionState {
    fn new() -> Self {
        Self { phase: Mutex::new((Phase::New, Instant::now())), waiting: Mutex::default() }
    }

    /// Returns the phase and when it began.
    pub(super) fn phase(&self) -> (Phase, Instant) {
        *lock(&self.phase)
    }

    pub(super) fn set(&self, phase: Phase) {
        *lock(&self.phase) = (phase, Instant::now());
        if let Some(waiting) = lock(&self.waiting).take() {
            waiting.wake();
        }
    }

    /// Wakes the task of `waker` when the phase is set.
    pub(super) fn wake(&self, waker: &Waker) {
        *lock(&self.waiting) = Some(waker.clone());
    }

    /// Notes that bytes arrived: the first of a request begin its header section.
    pub(super) fn received(&self) {
        let mut phase = lock(&self.phase);
        if matches!(phase.0, Phase::New | Phase::Idle) {
            *phase = (Phase::Head, Instant::now());
        }
    }

    fn waiting(&self) -> bool {
        self.phase().0 != Phase::Busy
    }
}

#[derive(Debug)]
struct Place {
    address: IpAddr,
    state: Arc<ConnectionState>,
    evict: CancellationToken,
}

#[derive(Debug, Default)]
struct ConnectionTable {
    by_id: HashMap<u64, Place>,
    /// Connections of an address, and requests of a client behind a trusted proxy.
    per_address: HashMap<IpAddr, usize>,
}

impl ConnectionTable {
    fn count(&mut self, address: IpAddr) {
        *self.per_address.entry(address).or_default() += 1;
    }

    fn uncount(&mut self, address: IpAddr) {
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    fn remove(&mut self, id: u64) -> Option<Place> {
        let place = self.by_id.remove(&id)?;
        self.uncount(place.address);
        Some(place)
    }

    /// Removes a connection that waits for a request, and disconnects it: of the network with the most such
    /// connections, the one that waits longest. Returns false if every connection is busy.
    fn evict(&mut self, among: impl Fn(&Place) -> bool) -> bool {
        let waiting = || self.by_id.iter().filter(|(_, place)| among(place) && place.state.waiting());
        let mut networks: HashMap<IpAddr, usize> = HashMap::new();
        for (_, place) in waiting() {
            *networks.entry(network(place.address)).or_default() += 1;
        }
        let Some((largest, _)) = networks.into_iter().max_by_key(|(_, count)| *count) else { return false };
        let longest = waiting()
            .filter(|(_, place)| network(place.address) == largest)
            .min_by_key(|(id, place)| (place.state.phase().1, **id))
            .map(|(id, _)| *id);
        let Some(victim) = longest.and_then(|id| self.remove(id)) else { return false };
        victim.evict.cancel();
        true
    }
}

/// Admits connections within [`ConnectionLimits`]. Cheap to clone; clones share the places.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    limits: Live<ConnectionLimits>,
    next: Arc<AtomicU64>,
    places: Arc<Mutex<ConnectionTable>>,
}

impl Admission {
    pub(super) fn new(limits: Live<ConnectionLimits>) -> Self {
        Self { limits, next: Arc::default(), places: Arc::default() }
    }

    /// Returns a place for a connection from `address`, or `None` if there is none. A `trusted` proxy is exempt from the
    /// cap per address.
    pub(super) fn admit(&self, address: IpAddr, trusted: bool) -> Option<Admitted> {
        let address = canonical(address);
        let limits = self.limits.get();
        let mut places = lock(&self.places);
        let own = places.per_address.get(&address).copied().unwrap_or(0);
        let full = (!trusted && own >= limits.per_address && !places.evict(|place| place.address == address))
            || (places.by_id.len() >= limits.total && !places.evict(|_| true));
        if full {
            metrics::counter!("homereel_connections_refused_total").increment(1);
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(ConnectionState::new());
        let evict = CancellationToken::new();
        places.count(address);
        places.by_id.insert(id, Place { address, state: Arc::clone(&state), evict: evict.clone() });
        gauge(&places);
        Some(Admitted { id, state, evict, admission: self.clone() })
    }

    /// Disconnects one waiting connection, to free a descriptor.
    pub(super) fn evict_one(&self) {
        lock(&self.places).evict(|_| true);
    }

    /// Counts a request of `client`, which is behind a trusted proxy. `None` means that the client has too many.
    pub(super) fn count_request(&self, client: IpAddr) -> Option<CountedRequest> {
        let client = canonical(client);
        let limits = self.limits.get();
        let mut places = lock(&self.places);
        if places.per_address.get(&client).is_some_and(|count| *count >= limits.per_address) {
            return None;
        }
        places.count(client);
        Some(CountedRequest { client, admission: self.clone() })
    }
}

/// The place of a connection. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Admitted {
    id: u64,
    state: Arc<ConnectionState>,
    evict: CancellationToken,
    admission: Admission,
}

impl Admitted {
    pub(super) fn state(&self) -> Arc<ConnectionState> {
        Arc::clone(&self.state)
    }

    /// Cancelled when the connection has to make room.
    pub(super) fn evicted(&self) -> &CancellationToken {
        &self.evict
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut places = lock(&self.admission.places);
        places.remove(self.id);
        gauge(&places);
    }
}

/// A request of a client behind a trusted proxy. Dropping it ends the count.
#[derive(Debug)]
pub(super) struct CountedRequest {
    client: IpAddr,
    admission: Admission,
}

impl Drop for CountedRequest {
    fn drop(&mut self) {
        lock(&self.admission.places).uncount(self.client);
    }
}

fn gauge(places: &ConnectionTable) {
    metrics::gauge!("homereel_connections").set(places.by_id.len() as f64);
}

/// IPv4 addresses that arrive over an IPv6 socket are IPv4 addresses.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The network that one household or attacker normally has to itself: /24 in IPv4, /64 in IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admission(total: usize, per_address: usize) -> Admission {
        Admission::new(ConnectionLimits { total, per_address }.into())
    }

    #[test]
    fn the_largest_waiting_network_makes_room_and_busy_connections_stay() {
        let admission = admission(4, 4);
        let busy = admission.admit(ip("10.0.1.9"), false).unwrap();
        busy.state().set(Phase::Busy);
        let attackers: Vec<_> =
            (1..3).map(|host| admission.admit(ip(&format!("10.0.1.{host}")), false).unwrap()).collect();
        let honest = admission.admit(ip("10.0.2.1"), false).unwrap();
        let newcomer = admission.admit(ip("10.0.2.2"), false).unwrap();
        assert!(attackers[0].evicted().is_cancelled(), "the longest waiting of the largest network leaves");
        for stays in [&busy, &attackers[1], &honest, &newcomer] {
            assert!(!stays.evicted().is_cancelled());
        }
        drop(attackers);
        assert_eq!(lock(&admission.places).by_id.len(), 3);
    }

    #[test]
    fn a_full_server_of_busy_connections_refuses() {
        let admission = admission(1, 1);
        let busy = admission.admit(ip("10.0.0.1"), false).unwrap();
        busy.state().set(Phase::Busy);
        assert!(admission.admit(ip("10.0.0.2"), false).is_none());
        drop(busy);
        assert!(admission.admit(ip("10.0.0.2"), false).is_some());
        assert!(lock(&admission.places).per_address.is_empty());
    }

    #[test]
    fn an_address_has_its_own_cap_and_a_trusted_proxy_has_none() {
        let admission = admission(10, 2);
        let mut held = Vec::new();
        for _ in 0..2 {
            let one = admission.admit(ip("::ffff:10.0.0.1"), false).unwrap();
            one.state().set(Phase::Busy);
            held.push(one);
        }
        assert!(admission.admit(ip("10.0.0.1"), false).is_none());
        assert!(admission.admit(ip("10.0.0.1"), true).is_some());
        assert!(admission.admit(ip("10.0.0.2"), false).is_some());
        let requests: Vec<_> = (0..2).map(|_| admission.count_request(ip("192.0.2.1")).unwrap()).collect();
        assert!(admission.count_request(ip("192.0.2.1")).is_none());
        drop(requests);
        assert!(admission.count_request(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn descriptors_bound_the_total() {
        let most = ConnectionLimits::within_descriptors(None, Some(usize::MAX)).unwrap();
        assert!(most.total <= DEFAULT_MOST && most.per_address == most.total);
        let error = ConnectionLimits::within_descriptors(Some(usize::MAX), None).unwrap_err();
        assert!(error.contains("would fit"), "{error}");
    }
}
