//! Assigns the sound to the segments of the pictures, so that both are moved alike and stay in step.

use super::{MAX_SEGMENTS, Segment};

/// Share of a second by which sound may go back, and by which it may pause, before it counts as another piece.
const BACK: i64 = 50;
const PAUSE: i64 = 5;

/// A piece of sound without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SoundRun {
    /// Index of its first packet among those of the sound.
    pub(crate) packet: u64,
    /// Start and end in ticks of the sound.
    pub(crate) ticks: (i64, i64),
    /// Packets of pictures in the file before its first packet and before its last one.
    pub(crate) pictures: (u64, u64),
}

/// Adds a packet to the `runs`: number `packet`, from `start` to `end`, behind `pictures` packets of pictures.
pub(crate) fn add(
    runs: &mut Vec<SoundRun>,
    packet: u64,
    (start, end): (i64, i64),
    pictures: u64,
    second: i64,
) {
    let full = runs.len() >= MAX_SEGMENTS;
    match runs.last_mut() {
        Some(run) if full || goes_on(start.saturating_sub(run.ticks.1), second) => {
            run.ticks.1 = run.ticks.1.max(end);
            run.pictures.1 = pictures;
        }
        _ => runs.push(SoundRun { packet, ticks: (start, end), pictures: (pictures, pictures) }),
    }
}

fn goes_on(gap: i64, second: i64) -> bool {
    (-second / BACK..=second / PAUSE).contains(&gap)
}

/// Returns the segments of the sound: each run goes with the segment of pictures in which most of it lies in the file.
/// `pictures` are the segments of `packets` packets of pictures; `scale` converts their ticks to those of the sound.
pub(crate) fn sound_segments(
    runs: &[SoundRun],
    pictures: &[Segment],
    packets: u64,
    scale: f64,
) -> Vec<Segment> {
    if pictures.len() < 2 {
        return Vec::new();
    }
    let mut segments = vec![Segment { packet: 0, shift: 0 }];
    segments.extend(runs.iter().map(|run| {
        let shift = (pictures[home(run, pictures, packets)].shift as f64 * scale).round() as i64;
        Segment { packet: run.packet, shift }
    }));
    segments.dedup_by(|later, earlier| {
        // The first entry is a placeholder for packets before the first run.
        let same = later.packet == earlier.packet;
        if same {
            *earlier = *later;
        }
        same || later.shift == earlier.shift
    });
    segments
}

/// Index of the segment in which most of `run` lies.
fn home(run: &SoundRun, pictures: &[Segment], packets: u64) -> usize {
    let (first, last) = run.pictures;
    // The last packet read may belong to the next segment, whose first picture comes a little later in the file.
    let at = |packet: u64| pictures.partition_point(|segment| segment.packet < packet).saturating_sub(1);
    let until = |index: usize| pictures.get(index + 1).map_or(packets, |next| next.packet);
    let share = |&index: &usize| {
        until(index).min(last).saturating_sub(pictures[index].packet.max(first))
    };
    // The later one of equals.
    (at(first)..=at(last)).max_by_key(share).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURES: [Segment; 3] = [
        Segment { packet: 0, shift: 0 },
        Segment { packet: 50, shift: 100 },
        Segment { packet: 100, shift: 200 },
    ];

    fn run(packet: u64, pictures: (u64, u64)) -> SoundRun {
        SoundRun { packet, ticks: (0, 0), pictures }
    }

    #[test]
    fn sound_is_cut_into_runs_where_it_breaks() {
        let mut runs = Vec::new();
        for (packet, start) in [0, 20, 40, 0, 20, 5000, 5020, 5041].into_iter().enumerate() {
            add(&mut runs, packet as u64, (start, start + 20), packet as u64 * 2, 1000);
        }
        let found: Vec<_> = runs.iter().map(|run| (run.packet, run.ticks, run.pictures)).collect();
        assert_eq!(found, [(0, (0, 60), (0, 4)), (3, (0, 40), (6, 8)), (5, (5000, 5061), (10, 14))]);
    }

    #[test]
    fn sound_goes_with_the_pictures_around_it() {
        // The second run begins before the last picture of the first segment, as MPEG streams have it.
        let runs = [run(0, (0, 49)), run(30, (49, 99)), run(60, (99, 150))];
        let segments = sound_segments(&runs, &PICTURES, 150, 0.5);
        let found: Vec<_> = segments.iter().map(|segment| (segment.packet, segment.shift)).collect();
        assert_eq!(found, [(0, 0), (30, 50), (60, 100)]);
        assert_eq!(sound_segments(&runs, &PICTURES[..1], 150, 0.5), []);
    }
}
