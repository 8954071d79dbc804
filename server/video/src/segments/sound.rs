//! Assigns the sound to the segments of the pictures, so that both are moved alike and stay in step.

use super::{MAX_SEGMENTS, Segment};

/// Share of a second by which sound may go back, and by which it may pause, before it counts as another piece.
const BACK: i64 = 50;
const PAUSE: i64 = 5;

/// Places of a run in the file that are kept at most.
const PLACES: usize = 64;

/// A piece of sound without a break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SoundRun {
    /// Index of its first packet among those of the sound.
    pub(crate) packet: u64,
    /// Start and end in ticks of the sound.
    pub(crate) ticks: (i64, i64),
    /// For some of its packets, evenly chosen: the packets of pictures before it in the file.
    places: Vec<u64>,
    /// One of this many packets has its place kept.
    stride: u64,
    packets: u64,
}

impl SoundRun {
    fn new(packet: u64, ticks: (i64, i64), place: u64) -> Self {
        Self { packet, ticks, places: vec![place], stride: 1, packets: 1 }
    }

    fn extend(&mut self, end: i64, place: u64) {
        self.ticks.1 = self.ticks.1.max(end);
        if self.packets.is_multiple_of(self.stride) {
            if self.places.len() >= PLACES {
                let mut number = 0;
                self.places.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
                self.stride *= 2;
            }
            self.places.push(place);
        }
        self.packets += 1;
    }
}

/// Adds a packet to the `runs`: number `packet`, from `start` to `end`, behind `place` packets of pictures.
pub(crate) fn add(runs: &mut Vec<SoundRun>, packet: u64, (start, end): (i64, i64), place: u64, second: i64) {
    let full = runs.len() >= MAX_SEGMENTS;
    match runs.last_mut() {
        Some(run) if full || goes_on(start.saturating_sub(run.ticks.1), second) => run.extend(end, place),
        _ => runs.push(SoundRun::new(packet, (start, end), place)),
    }
}

fn goes_on(gap: i64, second: i64) -> bool {
    (-second / BACK..=second / PAUSE).contains(&gap)
}

/// Returns the segments of the sound: each run goes with the segment of `pictures` in which most of it lies in the file.
/// `scale` converts ticks of the pictures to those of the sound.
pub(crate) fn sound_segments(runs: &[SoundRun], pictures: &[Segment], scale: f64) -> Vec<Segment> {
    if pictures.len() < 2 {
        return Vec::new();
    }
    let shift = |run: &SoundRun| (pictures[home(run, pictures)].shift as f64 * scale).round() as i64;
    let mut segments: Vec<Segment> =
        runs.iter().map(|run| Segment { packet: run.packet, shift: shift(run) }).collect();
    segments.dedup_by_key(|segment| segment.shift);
    segments
}

/// Index of the segment in which most of `run` lies.
fn home(run: &SoundRun, pictures: &[Segment]) -> usize {
    let at = |place: u64| pictures.partition_point(|segment| segment.packet < place).saturating_sub(1);
    let mut counts: Vec<(usize, usize)> = Vec::new();
    for segment in run.places.iter().map(|&place| at(place)) {
        match counts.last_mut() {
            Some((same, count)) if *same == segment => *count += 1,
            _ => counts.push((segment, 1)),
        }
    }
    // The later one of equals: what comes first may lie before the first picture of its segment.
    counts.into_iter().max_by_key(|&(_, count)| count).map_or(0, |(segment, _)| segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURES: [Segment; 3] = [
        Segment { packet: 0, shift: 0 },
        Segment { packet: 50, shift: 100 },
        Segment { packet: 100, shift: 200 },
    ];

    fn runs(packets: &[(i64, u64)]) -> Vec<SoundRun> {
        let mut runs = Vec::new();
        for (packet, &(start, place)) in (0..).zip(packets) {
            add(&mut runs, packet, (start, start + 20), place, 1000);
        }
        runs
    }

    #[test]
    fn sound_is_cut_into_runs_where_it_breaks() {
        let runs = runs(&[0, 20, 40, 0, 20, 5000, 5020, 5041].map(|start| (start, 0)));
        let found: Vec<_> = runs.iter().map(|run| (run.packet, run.ticks)).collect();
        assert_eq!(found, [(0, (0, 60)), (3, (0, 40)), (5, (5000, 5061))]);
    }

    #[test]
    fn sound_goes_with_the_pictures_around_most_of_it() {
        // The last packet of the first run lies far behind the rest; the second run begins before the last picture of the
        // first segment.
        let packets = [(0, 5), (20, 20), (40, 24), (60, 63), (0, 49), (20, 70), (40, 90), (0, 110)];
        let segments = sound_segments(&runs(&packets), &PICTURES, 0.5);
        let found: Vec<_> = segments.iter().map(|segment| (segment.packet, segment.shift)).collect();
        assert_eq!(found, [(0, 0), (4, 50), (7, 100)]);
        assert_eq!(sound_segments(&runs(&packets), &PICTURES[..1], 0.5), []);
    }

    #[test]
    fn a_long_run_keeps_few_places() {
        let packets: Vec<_> = (0..10_000).map(|at| (at * 20, at as u64)).collect();
        let runs = runs(&packets);
        assert!(runs.len() == 1 && (PLACES / 2..=PLACES).contains(&runs[0].places.len()));
        assert!(runs[0].places.is_sorted() && runs[0].places[PLACES / 2 - 1] > 5000);
    }
}
