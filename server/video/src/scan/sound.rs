//! Measures the sound by its packets: where it breaks, and where it ends.

use ffmpeg_next::Packet;

use super::packets::PictureTrack;
use crate::{
    Segment,
    ffmpeg::{self, StreamFacts},
    segments::{self, SoundRun},
};

/// The stream of sound.
pub(super) struct SoundTrack {
    pub(super) index: usize,
    time_base: (i32, i32),
    packets: u64,
    /// Its runs beside each stream of pictures.
    runs: Vec<(usize, Vec<SoundRun>)>,
}

impl SoundTrack {
    pub(super) fn new(facts: &StreamFacts, candidates: &[StreamFacts]) -> Self {
        let runs = candidates.iter().map(|facts| (facts.index, Vec::new())).collect();
        Self { index: facts.index, time_base: facts.time_base, packets: 0, runs }
    }

    /// Returns whether no packet was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.packets == 0
    }

    pub(super) fn see(&mut self, packet: &Packet, pictures: &[PictureTrack]) {
        let number = self.packets;
        self.packets += 1;
        let Some(start) = packet.pts().or(packet.dts()).filter(|_| !ffmpeg::hidden(packet)) else { return };
        let end = start.saturating_add(packet.duration().max(0));
        let (num, den) = self.time_base;
        let second = i64::from(den) / i64::from(num.max(1));
        for (index, runs) in &mut self.runs {
            let before = pictures.get(*index).map_or(0, |track| track.count);
            segments::add_sound(runs, number, (start, end), before, second);
        }
    }

    /// Returns the segments beside the stream of pictures `facts`, whose own are `pictures`, and where each piece of sound
    /// starts and ends on the one timeline, in seconds from `zero`.
    pub(super) fn lay_out(
        &self,
        facts: &StreamFacts,
        pictures: &[Segment],
        zero: f64,
    ) -> (Vec<Segment>, Vec<(f64, f64)>) {
        let Some((_, runs)) = self.runs.iter().find(|(index, _)| *index == facts.index) else {
            return (Vec::new(), Vec::new());
        };
        let seconds = |(num, den): (i32, i32)| f64::from(num.max(1)) / f64::from(den.max(1));
        let tick = seconds(self.time_base);
        let segments = segments::sound_segments(runs, pictures, seconds(facts.time_base) / tick);
        let moved = |run: &SoundRun, ticks: i64| {
            ticks.saturating_add(segments::shift(&segments, run.packet)) as f64 * tick - zero
        };
        let pieces = runs.iter().map(|run| (moved(run, run.ticks.0), moved(run, run.ticks.1))).collect();
        (segments, pieces)
    }
}
