//! Load balancing with affinity: a request goes to the replica that has seen the same video recently, otherwise to the
//! replica with the fewest requests in flight.
//!
//! Tower's balancer picks a service before it sees the request, so it cannot take the video into account; its retry may
//! pick the replica that just failed, and considers a response complete at its head, where ours is retried until the
//! first token. Load-balancing crates with keys (pingora's) bring a proxy and an HTTP stack of their own. Only tower's
//! retry budget is used (`pool.rs`).

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Time after which a replica is assumed to have evicted a video that nobody asked about.
const WARM: Duration = Duration::from_secs(30 * 60);
/// Videos whose replica is remembered.
const MAX_VIDEOS: usize = 1024;
/// Requests by which a replica that has the video cached may exceed twice the load of the least loaded one.
const PATIENCE: usize = 4;

/// The load of one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplicaLoad {
    pub(super) id: usize,
    pub(super) in_flight: usize,
    /// Sequence number of its last request.
    pub(super) turn: u64,
}

/// Returns the candidates in the order in which to try them. `warm` is the replica that has the video cached.
pub(super) fn order(mut loads: Vec<ReplicaLoad>, warm: Option<usize>) -> Vec<usize> {
    // Among equally loaded replicas, the one that has been idle longest.
    loads.sort_by_key(|load| (load.in_flight, load.turn));
    let least = loads.first().map_or(0, |load| load.in_flight);
    let mut ids: Vec<usize> = loads.iter().map(|load| load.id).collect();
    let near = loads.iter().find(|load| Some(load.id) == warm && load.in_flight <= 2 * least + PATIENCE);
    if let Some(near) = near {
        ids.retain(|&id| id != near.id);
        ids.insert(0, near.id);
    }
    ids
}

/// Which replica saw which video last.
#[derive(Debug, Default)]
pub(super) struct VideoAffinity {
    seen: HashMap<String, LastUse>,
}

#[derive(Debug, Clone, Copy)]
struct LastUse {
    replica: usize,
    /// Generation of the replica: its caches are empty after a restart.
    generation: u64,
    at: Instant,
}

impl VideoAffinity {
    /// Returns the replica that saw the video last, and its generation at that time.
    pub(super) fn find(&self, video: &str, now: Instant) -> Option<(usize, u64)> {
        let seen = self.seen.get(video)?;
        (now.duration_since(seen.at) < WARM).then_some((seen.replica, seen.generation))
    }

    /// Records that the replica receives the video now.
    pub(super) fn remember(&mut self, video: &str, replica: usize, generation: u64, now: Instant) {
        if self.seen.len() >= MAX_VIDEOS && !self.seen.contains_key(video) {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.at).map(|(video, _)| video.clone());
            if let Some(oldest) = oldest {
                self.seen.remove(&oldest);
            }
        }
        self.seen.insert(video.to_owned(), LastUse { replica, generation, at: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(in_flight: &[usize]) -> Vec<ReplicaLoad> {
        in_flight.iter().enumerate().map(|(id, &in_flight)| ReplicaLoad { id, in_flight, turn: 0 }).collect()
    }

    #[test]
    fn the_least_loaded_goes_first_and_equals_take_turns() {
        assert_eq!(order(loads(&[3, 1, 2]), None), [1, 2, 0]);
        let mut equal = loads(&[1, 1]);
        equal[0].turn = 9;
        equal[1].turn = 8;
        assert_eq!(order(equal, None), [1, 0]);
        assert!(order(Vec::new(), Some(0)).is_empty());
    }

    #[test]
    fn whoever_knows_the_video_gets_it_unless_it_is_far_behind() {
        assert_eq!(order(loads(&[0, 4]), Some(1)), [1, 0]);
        assert_eq!(order(loads(&[0, 5]), Some(1)), [0, 1]);
        assert_eq!(order(loads(&[10, 24]), Some(1)), [1, 0]);
        assert_eq!(order(loads(&[0, 1]), Some(7)), [0, 1]);
    }

    #[test]
    fn videos_are_forgotten_with_time_and_beyond_a_bound() {
        let (mut videos, now) = (VideoAffinity::default(), Instant::now());
        videos.remember("a", 1, 3, now);
        assert_eq!(videos.find("a", now), Some((1, 3)));
        assert_eq!(videos.find("a", now + WARM), None);
        for n in 0..MAX_VIDEOS {
            videos.remember(&n.to_string(), 0, 0, now + Duration::from_secs(1));
        }
        assert_eq!(videos.find("a", now), None);
        assert_eq!(videos.seen.len(), MAX_VIDEOS);
    }
}
