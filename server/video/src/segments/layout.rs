//! Lays segments one after the other: each begins where the pictures of the one before it end.

use super::Segment;
use crate::timeline::{Stamp, tail};

/// Packets at most that are no recording if the clock goes on behind them: their times are wrong.
const OUTLIERS: usize = 3;

/// A segment while packets are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Index of its first packet.
    pub(crate) packet: u64,
    /// Index of its first stamp among those of the stream.
    pub(crate) stamp: usize,
    /// DTS of the packet before it.
    pub(crate) before: i64,
    /// DTS of its first packet.
    pub(crate) dts: i64,
}

/// Moves `stamps` to one timeline. `runs` are the segments behind the first one; `usual` is the gap between two pictures in
/// ticks, where a segment does not tell. Returns the segments, if there are several, and the number of recordings.
pub(crate) fn lay_out(runs: &[Run], stamps: &mut [Stamp], second: i64, usual: f64) -> (Vec<Segment>, usize) {
    if runs.is_empty() {
        return (Vec::new(), 1);
    }
    let count = stamps.len();
    let mut segments = vec![Segment { packet: 0, shift: 0 }];
    let mut recordings = 1;
    let mut end = end(&stamps[..runs[0].stamp.min(count)], usual);
    // Where the clock goes on after packets with wrong times: DTS before them, and the shift.
    let mut resumes = None;
    for (at, run) in runs.iter().enumerate() {
        let next = runs.get(at + 1);
        let until = next.map_or(count, |next| next.stamp).min(count);
        let own = &mut stamps[run.stamp.min(until)..until];
        let goes_on = |before: i64, dts: i64| (1..=second).contains(&dts.saturating_sub(before));
        let last = segments[segments.len() - 1].shift;
        let resumed = resumes.take().filter(|&(before, _)| goes_on(before, run.dts));
        let shift = if let Some((_, shift)) = resumed {
            shift
        } else if own.len() <= OUTLIERS && next.is_some_and(|next| goes_on(run.before, next.dts)) {
            resumes = Some((run.before, last));
            run.before.saturating_add(last).saturating_add(usual as i64).saturating_sub(run.dts)
        } else {
            let begin = own.iter().filter_map(|stamp| stamp.pts).min();
            recordings += usize::from(begin.is_some());
            begin.zip(end).map_or(last, |(begin, end)| end.saturating_sub(begin))
        };
        for stamp in own.iter_mut() {
            stamp.pts = stamp.pts.map(|pts| pts.saturating_add(shift));
        }
        end = end.max(self::end(own, usual));
        segments.push(Segment { packet: run.packet, shift });
    }
    (segments, recordings)
}

/// Returns where the last of the pictures ends.
fn end(stamps: &[Stamp], usual: f64) -> Option<i64> {
    let mut timed: Vec<(i64, i64)> =
        stamps.iter().filter_map(|stamp| Some((stamp.pts?, stamp.duration))).collect();
    timed.sort_unstable();
    let &(last, _) = timed.last()?;
    Some(last.saturating_add(tail(&timed, usual).round() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(times: &[i64]) -> Vec<Stamp> {
        times.iter().map(|&pts| Stamp { pts: Some(pts), duration: 40 }).collect()
    }

    fn moved(stamps: &[Stamp]) -> Vec<i64> {
        stamps.iter().filter_map(|stamp| stamp.pts).collect()
    }

    #[test]
    fn each_segment_begins_where_the_one_before_ends() {
        // In decoding order, with B-frames; the second one begins with pictures that are shown before its key frame.
        let mut all = stamps(&[100, 180, 140, 5080, 5000, 5040, 5120]);
        let run = Run { packet: 4, stamp: 3, before: 140, dts: 4990 };
        let (segments, recordings) = lay_out(&[run], &mut all, 1000, 40.0);
        assert_eq!(moved(&all), [100, 180, 140, 300, 220, 260, 340]);
        assert_eq!(segments[1], Segment { packet: 4, shift: -4780 });
        assert_eq!(recordings, 2);
        assert_eq!(lay_out(&[], &mut all, 1000, 40.0), (vec![], 1));
    }

    #[test]
    fn a_packet_with_a_wrong_time_is_no_recording() {
        let mut all = stamps(&[0, 40, 80, 9_000_000, 160, 200]);
        let runs = [
            Run { packet: 3, stamp: 3, before: 80, dts: 9_000_000 },
            Run { packet: 4, stamp: 4, before: 9_000_000, dts: 160 },
        ];
        let (segments, recordings) = lay_out(&runs, &mut all, 1000, 40.0);
        assert_eq!(moved(&all), [0, 40, 80, 120, 160, 200]);
        assert_eq!((segments[2].shift, recordings), (0, 1));
    }

    #[test]
    fn segments_without_times_or_pictures_go_with_the_one_before() {
        let mut all = stamps(&[0, 40, 0, 40]);
        let runs = [
            Run { packet: 2, stamp: 2, before: 40, dts: 7 },
            Run { packet: 3, stamp: 2, before: 7, dts: 0 },
            Run { packet: 9, stamp: 99, before: i64::MIN, dts: i64::MAX },
        ];
        let (segments, recordings) = lay_out(&runs, &mut all, 1000, 40.0);
        assert_eq!(moved(&all), [0, 40, 80, 120]);
        assert_eq!((segments.len(), segments[3].shift, recordings), (4, 80, 2));
    }
}
