//! Which of several upstreams gets a request: the one that has seen the same video lately, else the one with the fewest
//! requests. Knows no HTTP.
//!
//! Tower's balance chooses a service before it sees the request, so that it can't know the video; its retry may choose the
//! very replica that just failed, and ends with a response's head where ours ends with the first token. Load-balancing
//! crates with keys (pingora's) bring a proxy and an HTTP stack of their own. What they would save is this file; tower's
//! retry budget is used (`pool.rs`).

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a replica is taken to remember a video that nobody asks about.
const WARM: Duration = Duration::from_secs(30 * 60);
/// Videos whose replica is remembered.
const MAX_VIDEOS: usize = 1024;
/// A replica that knows the video may have this many requests more than twice the least loaded one's.
const PATIENCE: usize = 4;

/// What counts of a replica that could take the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) id: usize,
    pub(super) in_flight: usize,
    /// When it was given its last request, by a counter.
    pub(super) turn: u64,
}

/// Returns the replicas in the order in which they are to be tried; `warm` knows the video.
pub(super) fn order(mut loads: Vec<Load>, warm: Option<usize>) -> Vec<usize> {
    // Among equals the one that waited longest.
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

/// Remembers which replica has seen which video.
#[derive(Debug, Default)]
pub(super) struct Videos {
    seen: HashMap<String, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    replica: usize,
    /// Which life of the replica: what it knew ended with it.
    life: u64,
    at: Instant,
}

impl Videos {
    /// Returns the replica that saw the video, and in which life.
    pub(super) fn find(&self, video: &str, now: Instant) -> Option<(usize, u64)> {
        let seen = self.seen.get(video)?;
        (now.duration_since(seen.at) < WARM).then_some((seen.replica, seen.life))
    }

    /// Remembers that the replica gets the video now.
    pub(super) fn remember(&mut self, video: &str, replica: usize, life: u64, now: Instant) {
        if self.seen.len() >= MAX_VIDEOS && !self.seen.contains_key(video) {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.at).map(|(video, _)| video.clone());
            if let Some(oldest) = oldest {
                self.seen.remove(&oldest);
            }
        }
        self.seen.insert(video.to_owned(), Seen { replica, life, at: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(in_flight: &[usize]) -> Vec<Load> {
        in_flight.iter().enumerate().map(|(id, &in_flight)| Load { id, in_flight, turn: 0 }).collect()
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
        let (mut videos, now) = (Videos::default(), Instant::now());
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
