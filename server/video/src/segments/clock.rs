//! Follows the times of one stream's packets in the order of the file, and tells where they start again or leap.

/// Seconds by which DTS may leap where clocks can restart, as ffmpeg's own program has it (`dts_delta_threshold`).
const LEAP: i64 = 10;
/// Steps between two packets that a leap exceeds by this factor are no leap: the stream has few pictures.
const FEW: i64 = 4;
/// Reordered pictures of a codec at most, and some: what goes back further is no reordering.
const REORDERED: i64 = 17;
/// Packets with a wrong time after which the clock may return to what it was.
const OUTLIERS: u32 = 3;

/// What the packet of a picture says of its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) pts: Option<i64>,
    pub(crate) dts: Option<i64>,
    /// By the container.
    pub(crate) key: bool,
}

/// What the clock showed last.
#[derive(Debug, Clone, Copy)]
struct Reading {
    dts: i64,
    /// Latest PTS.
    latest: i64,
    /// Longest step so far.
    longest: i64,
}

/// The clock of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// Whether the container's clock can restart: MPEG streams, which players receive while they are sent.
    restarts: bool,
    /// Every picture is a key frame.
    intra: bool,
    /// Ticks of a second.
    second: i64,
    now: Option<Reading>,
    /// First DTS and number of packets of the segment, for the usual step.
    since: (i64, i64),
    /// Before the last large step within a segment, and the packets since.
    before: Option<(Reading, u32)>,
    /// Whether the stream has packets that are not key frames.
    others: bool,
    /// Whether PTS are missing, so that the latest picture is not known.
    gaps: bool,
}

impl Clock {
    /// `time_base` is in seconds per tick.
    pub(crate) fn new((num, den): (i32, i32), restarts: bool, intra: bool) -> Self {
        let second = (i64::from(den) / i64::from(num.max(1))).max(1);
        Self { restarts, intra, second, now: None, since: (0, 0), before: None, others: false, gaps: false }
    }

    /// Takes the next packet; returns whether a segment begins with it.
    pub(crate) fn begins(&mut self, mark: Mark) -> bool {
        let Some(dts) = mark.dts.or(mark.pts) else { return false };
        let begins = self.now.is_some_and(|now| self.breaks(now, dts, mark));
        self.others |= !mark.key;
        self.gaps |= mark.pts.is_none();
        let pts = mark.pts.unwrap_or(dts);
        match &mut self.now {
            Some(now) if !begins => {
                now.longest = now.longest.max(dts.saturating_sub(now.dts));
                now.dts = now.dts.max(dts);
                now.latest = now.latest.max(pts);
                self.since.1 += 1;
            }
            _ => {
                let longest = self.now.map_or(0, |now| now.longest);
                self.now = Some(Reading { dts, latest: pts, longest });
                self.since = (dts, 0);
                self.before = None;
            }
        }
        if let Some((_, packets)) = &mut self.before {
            *packets += 1;
        }
        begins
    }

    fn breaks(&mut self, now: Reading, dts: i64, mark: Mark) -> bool {
        let step = dts.saturating_sub(now.dts);
        if step > 0 {
            let leap = (LEAP * self.second).max(now.longest.saturating_mul(FEW));
            if self.restarts && step > leap {
                return true;
            }
            if step > self.second / 2 && step > now.longest.saturating_mul(FEW) {
                self.before = Some((now, 0));
            }
            return false;
        }
        let usual = self.usual(now);
        let latest = if self.gaps { now.latest.max(now.dts.saturating_add(usual)) } else { now.latest };
        if step == 0 {
            // An overlap by one picture.
            return self.restarts && mark.key && !self.intra && mark.pts.is_some_and(|pts| pts <= latest);
        }
        if let Some((before, packets)) = self.before
            && packets <= OUTLIERS
            && dts > before.dts
            && dts.saturating_sub(before.dts) <= before.longest.saturating_mul(2 * FEW).max(self.second / 2)
        {
            // The packets between had wrong times.
            self.now = Some(before);
            self.before = None;
            return false;
        }
        let back = step.saturating_neg();
        let key = mark.key && self.others && mark.pts.is_some_and(|pts| pts < latest);
        key || back > self.tolerance(usual)
    }

    /// The usual step from packet to packet.
    fn usual(&self, now: Reading) -> i64 {
        let (first, packets) = self.since;
        if packets > 0 { now.dts.saturating_sub(first) / packets } else { self.second / 25 }
    }

    /// Ticks by which DTS may go back without a restart. Matroska stores no DTS, and what ffmpeg makes up for it goes back by
    /// reordered pictures where a file is wrong.
    fn tolerance(&self, usual: i64) -> i64 {
        match (self.restarts, self.intra) {
            (true, _) => self.second / 10,
            (false, true) => 0,
            (false, false) => usual.saturating_mul(REORDERED).max(self.second / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Mark};

    /// Ticks of milliseconds: the indices of packets (PTS, DTS, key) at which segments begin.
    fn starts(restarts: bool, intra: bool, packets: &[(i64, i64, bool)]) -> Vec<usize> {
        let mut clock = Clock::new((1, 1000), restarts, intra);
        let mark = |&(pts, dts, key): &(i64, i64, bool)| Mark { pts: Some(pts), dts: Some(dts), key };
        (0..packets.len()).filter(|&at| clock.begins(mark(&packets[at]))).collect()
    }

    /// Packets of `count` pictures of 40 ms, with two B-frames between the others, from PTS `from` on.
    fn recording(from: i64, count: i64) -> Vec<(i64, i64, bool)> {
        let order = |at: i64| [0, 2, -1, -1][if at == 0 { 0 } else { ((at - 1) % 3 + 1) as usize }];
        (0..count).map(|at| (from + (at + order(at)) * 40, from + (at - 1) * 40, at == 0)).collect()
    }

    fn joined(parts: &[Vec<(i64, i64, bool)>]) -> Vec<(i64, i64, bool)> {
        parts.concat()
    }

    #[test]
    fn restarts_and_leaps_begin_segments() {
        let (a, again) = (recording(1480, 50), recording(1480, 50));
        for restarts in [true, false] {
            assert_eq!(starts(restarts, false, &joined(&[a.clone(), again.clone()])), [50]);
            // Back by less than the whole recording, down to two pictures.
            for overlap in [1999, 500, 80] {
                let b = recording(1480 + 2000 - overlap, 50);
                assert_eq!(starts(restarts, false, &joined(&[a.clone(), b])), [50], "{overlap}");
            }
        }
        let day = 86_400_000;
        assert_eq!(starts(true, false, &joined(&[a.clone(), recording(day, 50), a.clone()])), [50, 100]);
        assert_eq!(starts(false, false, &joined(&[a.clone(), recording(day, 50)])), [0; 0], "a genuine gap");
        assert_eq!(starts(true, false, &joined(&[a.clone(), recording(3480 + 40, 50)])), [0; 0]);
        assert_eq!(starts(true, false, &joined(&[a, recording(3480 + 9000, 50)])), [0; 0], "a short gap");
    }

    #[test]
    fn an_overlap_by_one_picture_is_found() {
        assert_eq!(starts(true, false, &joined(&[recording(0, 51), recording(2000, 50)])), [51]);
    }

    #[test]
    fn missing_pts_hide_no_overlap_and_make_none() {
        let mut clock = Clock::new((1, 1000), true, false);
        let mut begins = |pts, dts, key| clock.begins(Mark { pts, dts: Some(dts), key });
        // The file begins with pictures that refer to others which were cut off.
        assert!(![0, 40, 80].into_iter().any(|time| begins(Some(time), time, false)));
        assert!(!begins(None, 0, true));
        for at in [120, 160, 200] {
            assert!(!begins(None, at, false) && !begins(Some(at + 20), at + 20, false));
        }
        assert!(begins(Some(240), 220, true), "one picture before the end");
    }

    #[test]
    fn pictures_that_are_rare_do_not_leap() {
        let slides: Vec<_> = (0..10).map(|at| (at * 9000, at * 9000, true)).collect();
        let slower: Vec<_> = (1..10).map(|at| (81_000 + at * 20_000, 81_000 + at * 20_000, true)).collect();
        assert_eq!(starts(true, true, &joined(&[slides, slower])), [0; 0]);
    }

    #[test]
    fn wrong_times_of_single_packets_begin_nothing() {
        let mut outlier: Vec<_> = (0..50).map(|at| (at * 40, at * 40, at == 0)).collect();
        (outlier[20].0, outlier[20].1) = (900_000, 900_000);
        assert_eq!(starts(false, false, &outlier), [0; 0]);
        assert_eq!(starts(false, true, &outlier), [0; 0]);
        (outlier[20].0, outlier[20].1) = (5_800, 5_800);
        assert_eq!(starts(true, false, &outlier), [0; 0]);
        // Presentation alone: the clock goes on.
        (outlier[20].0, outlier[20].1) = (900_000, 800);
        assert_eq!(starts(false, false, &outlier), [0; 0]);
    }

    #[test]
    fn made_up_dts_of_reordered_pictures_begin_nothing() {
        // As ffmpeg has it after the join of two Matroska files: DTS equals PTS.
        let second: Vec<_> = recording(0, 50).into_iter().map(|(pts, _, key)| (pts, pts, key)).collect();
        assert_eq!(starts(false, false, &joined(&[recording(0, 60), second])), [60]);
        // All packets are called key frames.
        let all_key: Vec<_> = recording(0, 50).into_iter().map(|(pts, _, _)| (pts, pts, true)).collect();
        assert_eq!(starts(false, false, &all_key), [0; 0]);
    }

    #[test]
    fn packets_without_times_and_extreme_ones_are_survived() {
        let mut clock = Clock::new((0, 0), true, false);
        for value in [None, Some(i64::MAX), Some(i64::MIN), None, Some(0), Some(i64::MAX)] {
            clock.begins(Mark { pts: value, dts: value, key: true });
        }
    }
}
