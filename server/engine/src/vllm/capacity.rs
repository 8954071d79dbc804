//! Estimates how many requests a replica processes at once, from its queue. vLLM does not report its
//! `--max-num-seqs`, and ours may allow more requests: those would only make the queue of its scheduler longer.

use crate::ReplicaMetrics;

/// First estimate. It doubles until the replica queues a request, so a larger replica reaches its limit within seconds.
const START: usize = 8;

/// The estimate.
#[derive(Debug)]
pub(super) struct Capacity {
    estimate: usize,
    most: usize,
    /// Whether the replica has queued requests before; from then on the estimate grows by one.
    has_queued: bool,
}

impl Capacity {
    /// Creates an estimate of at most `most`, and at least 1.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { estimate: START.min(most), most, has_queued: false }
    }

    /// Returns how many requests the replica probably processes at once.
    pub(super) fn estimate(&self) -> usize {
        self.estimate
    }

    /// Corrects the estimate by `metrics`, taken while we had `in_flight` requests on the replica.
    pub(super) fn observe(&mut self, metrics: &ReplicaMetrics, in_flight: usize) {
        if metrics.num_requests_waiting > 0.0 {
            // Those that run now are what fits. Halving bounds the error of one sample, taken just after a burst.
            let running = metrics.num_requests_running as usize;
            self.estimate = running.max(self.estimate / 2).clamp(1, self.estimate);
            self.has_queued = true;
        } else if in_flight + 1 >= self.estimate {
            // One slot of the estimate is kept for people's questions, so it is in use with one less.
            let grown = if self.has_queued { self.estimate + 1 } else { self.estimate * 2 };
            self.estimate = grown.min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(running: usize, waiting: usize) -> ReplicaMetrics {
        ReplicaMetrics {
            num_requests_running: running as f64,
            num_requests_waiting: waiting as f64,
            ..ReplicaMetrics::default()
        }
    }

    /// Lets a replica with `slots` slots run as many requests as the estimate allows, and returns the estimates.
    fn follow(capacity: &mut Capacity, slots: usize, rounds: usize) -> Vec<usize> {
        let mut round = || {
            let sent = capacity.estimate() - 1;
            capacity.observe(&metrics(sent.min(slots), sent.saturating_sub(slots)), sent);
            capacity.estimate()
        };
        (0..rounds).map(|_| round()).collect()
    }

    #[test]
    fn the_estimate_follows_the_slots_of_the_replica() {
        let mut capacity = Capacity::new(256);
        assert_eq!(capacity.estimate(), 8);
        assert_eq!(follow(&mut capacity, 40, 3), [16, 32, 64]);
        // 63 are sent, 40 run and the rest waits; afterwards it probes one above the limit.
        assert_eq!(follow(&mut capacity, 40, 5), [40, 41, 42, 40, 41]);
        assert!(follow(&mut capacity, 4, 8)[3..].iter().all(|&estimate| (4..=6).contains(&estimate)));
        assert!(follow(&mut Capacity::new(32), 64, 9).iter().all(|&estimate| estimate <= 32));
    }

    #[test]
    fn an_idle_replica_and_other_clients_are_accounted_for() {
        let mut capacity = Capacity::new(32);
        capacity.observe(&metrics(0, 0), 0);
        assert_eq!(capacity.estimate(), 8, "nothing is learnt from an idle replica");
        // Other clients fill it: few of ours run.
        capacity.observe(&metrics(8, 20), 3);
        assert_eq!(capacity.estimate(), 8);
        // A sample in the middle of a burst.
        capacity.observe(&metrics(0, 7), 7);
        assert_eq!(capacity.estimate(), 4);
        for most in [0, 1] {
            let mut capacity = Capacity::new(most);
            capacity.observe(&metrics(0, 3), 1);
            assert_eq!(capacity.estimate(), 1);
        }
    }
}
