//! How fast the model watches the library: hours of video per hour of work.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Number of finished parts that the pace is computed from.
const PARTS: usize = 64;

/// The least work from which a pace is computed.
const MIN_BUSY: Duration = Duration::from_secs(5);

/// Finished parts, and the time in which the model worked on any.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Parts in work.
    working: usize,
    /// Since when there is work, if there is.
    since: Option<Instant>,
    /// Time with work before `since`.
    busy: Duration,
    /// Of each finished part: the busy time at its end, and the seconds of video finished so far.
    finished: VecDeque<(Duration, f64)>,
    video_s: f64,
}

impl Pace {
    /// Records that work on a part began.
    pub(super) fn start(&mut self, now: Instant) {
        self.working += 1;
        if self.finished.is_empty() {
            self.finished.push_back((Duration::ZERO, 0.0));
        }
        self.since.get_or_insert(now);
    }

    /// Records that work on a part ended, after `video_s` seconds of it were described: 0 if it failed.
    pub(super) fn end(&mut self, now: Instant, video_s: f64) {
        self.working = self.working.saturating_sub(1);
        let busy = self.busy_at(now);
        if self.working == 0 {
            (self.busy, self.since) = (busy, None);
        }
        self.video_s += video_s;
        self.finished.push_back((busy, self.video_s));
        if self.finished.len() > PARTS {
            self.finished.pop_front();
        }
    }

    /// Returns seconds of video per second of work; `None` until there was enough work.
    pub(super) fn rate(&self) -> Option<f64> {
        let (first, last) = (self.finished.front()?, self.finished.back()?);
        let busy = last.0.saturating_sub(first.0);
        (busy >= MIN_BUSY && last.1 > first.1).then(|| (last.1 - first.1) / busy.as_secs_f64())
    }

    fn busy_at(&self, now: Instant) -> Duration {
        self.busy + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_does_not_count_and_parts_at_once_add_up() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.rate(), None);
        // Two parts of 60 s in 10 s.
        pace.start(at(0));
        pace.start(at(0));
        pace.end(at(10), 60.0);
        pace.end(at(10), 60.0);
        assert_eq!(pace.rate(), Some(12.0));
        // An hour later one of 30 s in 10 s, and one that fails.
        pace.start(at(3610));
        pace.start(at(3610));
        pace.end(at(3615), 0.0);
        pace.end(at(3620), 30.0);
        assert_eq!(pace.rate(), Some(7.5));
    }

    #[test]
    fn only_the_last_parts_count() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for second in 0..1000 {
            pace.start(start + Duration::from_secs(second));
            pace.end(start + Duration::from_secs(second + 1), if second < 900 { 1.0 } else { 3.0 });
        }
        assert_eq!(pace.rate(), Some(3.0));
        assert!(pace.finished.len() <= PARTS);
    }
}
