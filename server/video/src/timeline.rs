//! Computes when every frame is shown, from packets alone.

/// Times of one packet, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// Presentation time, if the container gives one.
    pub(crate) pts: Option<i64>,
    /// Duration; zero if unknown.
    pub(crate) duration: i64,
}

/// When every frame is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timeline {
    /// Seconds from the first frame, ascending.
    pub(crate) times: Vec<f64>,
    /// Tick of the first frame.
    pub(crate) first: i64,
    /// The packets carry no times; frames are counted.
    pub(crate) counted: bool,
    /// Frames per second.
    pub(crate) fps: f64,
    /// From the first frame's start to the last frame's end, seconds.
    pub(crate) duration_s: f64,
    /// All frames are equally far apart.
    pub(crate) constant: bool,
}

/// Rate that is assumed when neither packets nor header give one.
const FALLBACK_RATE: f64 = 25.0;

/// Works out the timeline of `stamps`, which must not be empty, in ticks of `tick` seconds. `rates` are the
/// header's claims about frames per second: the first that every frame obeys is taken at its word. `stay` are the ticks for
/// which the last frame is shown, if they are known.
pub(crate) fn timeline(
    stamps: &[Stamp],
    (num, den): (i32, i32),
    rates: &[(i32, i32)],
    stay: Option<i64>,
) -> Timeline {
    let claims: Vec<f64> = rates.iter().filter_map(|&rate| rate_of(rate)).collect();
    let mut timed: Vec<(i64, i64)> =
        stamps.iter().filter_map(|stamp| Some((stamp.pts?, stamp.duration))).collect();
    if timed.len() * 2 < stamps.len().max(1) || num <= 0 || den <= 0 {
        let fps = claims.first().copied().unwrap_or(FALLBACK_RATE);
        let times: Vec<f64> = (0..stamps.len()).map(|i| i as f64 / fps).collect();
        let duration_s = stamps.len() as f64 / fps;
        return Timeline { times, first: 0, counted: true, fps, duration_s, constant: true };
    }
    timed.sort_unstable();
    let tick = f64::from(num) / f64::from(den);
    let first = timed[0].0;
    let ticks: Vec<f64> = timed.iter().map(|&(pts, _)| pts.saturating_sub(first) as f64).collect();
    let count = ticks.len() as f64;
    let last = ticks[ticks.len() - 1];
    let measured = (last > 0.0).then(|| (count - 1.0) / (last * tick)).filter(|rate| *rate <= 1000.0);
    let constant = claims.iter().copied().chain(measured).find(|rate| obeyed(&ticks, 1.0 / (rate * tick)));
    let duration_s = match (constant, stay.map(|stay| stay as f64)) {
        // No longer than the others, except for rounding.
        (Some(rate), stay) if stay.is_none_or(|stay| stay * tick * rate <= 1.5) => count / rate,
        (_, Some(stay)) => (last + stay) * tick,
        (_, None) => (last + tail(&timed, claimed_gap((num, den), rates))) * tick,
    };
    Timeline {
        first,
        counted: false,
        fps: constant.unwrap_or_else(|| count / duration_s),
        duration_s,
        constant: constant.is_some(),
        times: ticks.into_iter().map(|ticks| ticks * f64::from(num) / f64::from(den)).collect(),
    }
}

fn rate_of((num, den): (i32, i32)) -> Option<f64> {
    (num > 0 && den > 0)
        .then(|| f64::from(num) / f64::from(den))
        .filter(|rate| (0.01..=1000.0).contains(rate))
}

/// Whether frame i lies within one tick of i × `gap` ticks (less than that where a frame is few ticks long).
fn obeyed(ticks: &[f64], gap: f64) -> bool {
    let slack = (gap / 4.0).min(1.0) + 1e-6;
    ticks.iter().enumerate().all(|(i, tick)| (tick - i as f64 * gap).abs() <= slack)
}

/// Ticks for which the last of the frames `timed` (PTS and duration, sorted) is shown: what its packet says, unless that is
/// absurd. `usual` is the gap between two frames where they do not tell.
pub(crate) fn tail(timed: &[(i64, i64)], usual: f64) -> f64 {
    let mut gaps: Vec<f64> = timed
        .windows(2)
        .map(|pair| pair[1].0.saturating_sub(pair[0].0) as f64)
        .filter(|gap| *gap > 0.0)
        .collect();
    let middle = gaps.len() / 2;
    let usual = if gaps.is_empty() { usual } else { *gaps.select_nth_unstable_by(middle, f64::total_cmp).1 };
    let claimed = timed.last().map_or(0.0, |&(_, duration)| duration as f64);
    let longest = gaps.iter().copied().fold(8.0 * usual, f64::max);
    if claimed > 0.0 && claimed <= longest { claimed } else { usual }
}

/// Ticks between two frames by the header's claims about frames per second, for `tick` seconds a tick.
pub(crate) fn claimed_gap((num, den): (i32, i32), rates: &[(i32, i32)]) -> f64 {
    let fps = rates.iter().find_map(|&rate| rate_of(rate)).unwrap_or(FALLBACK_RATE);
    f64::from(den.max(1)) / f64::from(num.max(1)) / fps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(pts: &[i64]) -> Vec<Stamp> {
        pts.iter().map(|&pts| Stamp { pts: Some(pts), duration: 0 }).collect()
    }

    #[test]
    fn a_constant_rate_is_the_headers_fraction() {
        let pts: Vec<i64> = (0..300).map(|i| i * 1001).collect();
        let line = timeline(&stamps(&pts), (1, 30000), &[(30000, 1001)], None);
        assert!(line.constant);
        assert_eq!(line.fps, 30000.0 / 1001.0);
        assert_eq!(line.duration_s, 300.0 / (30000.0 / 1001.0));
        assert_eq!(line.times[299], 299.0 * 1001.0 / 30000.0);
    }

    #[test]
    fn millisecond_ticks_still_count_as_constant() {
        let pts: Vec<i64> = (0..100).map(|i| (f64::from(i) * 1000.0 / 30.0).round() as i64).collect();
        let line = timeline(&stamps(&pts), (1, 1000), &[(0, 0), (30, 1)], None);
        assert!(line.constant);
        assert_eq!(line.fps, 30.0);
    }

    #[test]
    fn frames_out_of_order_with_an_offset_are_sorted_from_the_first_one_shown() {
        let line = timeline(&stamps(&[250, 400, 300, 350]), (1, 100), &[], None);
        assert_eq!(line.times, [0.0, 0.5, 1.0, 1.5]);
        assert_eq!((line.first, line.fps, line.duration_s), (250, 2.0, 2.0));
    }

    #[test]
    fn an_uneven_clip_is_not_constant_and_ends_after_its_last_frame() {
        let mut stamps = stamps(&[0, 100, 200, 1000]);
        stamps[3].duration = 500;
        let line = timeline(&stamps, (1, 1000), &[(10, 1)], None);
        assert!(!line.constant);
        assert_eq!(line.duration_s, 1.5);
        stamps[3].duration = 143_000_000;
        assert_eq!(
            timeline(&stamps, (1, 1000), &[(10, 1)], None).duration_s,
            1.1,
            "an absurd duration is not believed"
        );
    }

    #[test]
    fn the_last_frame_stays_as_long_as_it_is_said_to() {
        let stamps = stamps(&[0, 100, 200, 300]);
        let stays = |stay| timeline(&stamps, (1, 1000), &[(10, 1)], Some(stay));
        assert_eq!((stays(10_000).duration_s, stays(10_000).fps, stays(10_000).constant), (10.3, 10.0, true));
        assert_eq!(stays(101).duration_s, 0.4);
        assert_eq!(stays(40).duration_s, 0.4, "a constant rate");
    }

    #[test]
    fn a_coarse_clock_does_not_hide_a_missing_frame() {
        assert!(!timeline(&stamps(&[0, 1, 2, 4, 5]), (1, 25), &[(25, 1)], None).constant);
    }

    #[test]
    fn one_frame_and_no_times_at_all() {
        let one = timeline(&stamps(&[7]), (1, 1000), &[(25, 1)], None);
        assert_eq!((one.times.as_slice(), one.duration_s), ([0.0].as_slice(), 0.04));
        let none = timeline(&[Stamp { pts: None, duration: 0 }; 3], (1, 1000), &[(2, 1)], None);
        assert!(none.counted);
        assert_eq!(none.times, [0.0, 0.5, 1.0]);
    }
}
