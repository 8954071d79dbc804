//! Skips the packets before the access point of the next target, by a seek where they are many, and verifies that the access
//! point is the one that the probe found.

use ffmpeg_next::Packet;

use super::{Reader, Trust, open::begin};
use crate::{RandomAccessPoint, Target, VideoError, ffmpeg, segments};

/// Minimum packets before an access point for a seek to be worth restarting the decoder.
const MIN_LEAP: u64 = 8;
/// Packets after a seek within which the access point must appear.
const MAX_STRAY: u32 = 2000;

/// How the reader reaches the access point of the next target.
pub(super) enum SkipState {
    /// No packets are skipped.
    None,
    /// By reading and dropping packets.
    Reading(RandomAccessPoint),
    /// By a seek, after which `stray` packets before the access point were read.
    Sought { entry: RandomAccessPoint, stray: u32 },
}

/// Returns whether `packet` is the access point that the probe found.
fn is_at(packet: &Packet, entry: &RandomAccessPoint) -> bool {
    packet.pts() == Some(entry.ticks)
        && packet.position() as i64 == entry.position
        && packet.size() as u64 == entry.size
}

impl Reader<'_> {
    /// Returns the last access point at or before `target`.
    fn entry(&self, target: Target) -> Option<RandomAccessPoint> {
        let entries = &self.request.access_points;
        entries[..entries.partition_point(|entry| entry.ticks <= target.ticks)].last().copied()
    }

    /// Returns whether the packets up to the access point of `target` may be skipped.
    pub(super) fn far(&self, target: Target) -> Option<RandomAccessPoint> {
        self.entry(target).filter(|entry| entry.packet >= self.number.saturating_add(MIN_LEAP))
    }

    /// Seeks to the access point of the next target if it lies ahead, since no earlier picture is needed.
    pub(super) fn leap(&mut self) -> Result<(), VideoError> {
        if self.trust == Trust::Nothing || !matches!(self.skip, SkipState::None) {
            return Ok(());
        }
        let Some(entry) = self.picker.target().and_then(|target| self.far(target)) else { return Ok(()) };
        self.decoder.flush();
        self.picker.forget();
        self.trust = Trust::Leapt(entry.ticks);
        self.skip = SkipState::Reading(entry);
        if entry.position.saturating_sub(self.position) > self.index_leap {
            self.completer.clear();
            self.skip = SkipState::Sought { entry, stray: 0 };
            if ffmpeg::seek(&mut self.input, self.request.stream, entry.ticks).is_err() {
                self.rewind()?;
            }
        }
        Ok(())
    }

    /// Returns to the start of the file to reach the access point by reading, because the index is wrong.
    pub(super) fn rewind(&mut self) -> Result<(), VideoError> {
        self.input = begin(self.file, self.request, self.max_pixels, self.threads)?.0;
        if let SkipState::Sought { entry, .. } = self.skip {
            self.skip = SkipState::Reading(entry);
        }
        self.completer.clear();
        (self.index_leap, self.number, self.position, self.read) = (i64::MAX, 0, 0, 0);
        Ok(())
    }

    /// Reads a packet of the stream: moves its times, and handles those that have a PTS by now.
    pub(super) fn read(&mut self, mut packet: Packet) -> Result<(), VideoError> {
        let number = self.read;
        self.read += 1;
        segments::apply(&self.request.segments, number, &mut packet);
        if self.partial_times || self.completer.is_idle() && packet.pts().is_some() {
            return self.take(&packet);
        }
        let begins = segments::begins(&self.request.segments, number);
        let mut complete = Vec::new();
        self.completer.push(packet, begins, |packet, _| complete.push(packet));
        complete.iter().try_for_each(|packet| self.take(packet))
    }

    /// Handles what still waits for its PTS at the end of the file.
    pub(super) fn read_rest(&mut self) -> Result<(), VideoError> {
        let mut rest = Vec::new();
        self.completer.finish(|packet, _| rest.push(packet));
        rest.iter().try_for_each(|packet| self.take(packet))
    }

    /// Handles a packet of the stream.
    pub(super) fn take(&mut self, packet: &Packet) -> Result<(), VideoError> {
        let number = self.number;
        self.number += 1;
        self.position = packet.position() as i64;
        match &mut self.skip {
            SkipState::None => {}
            SkipState::Reading(entry) if number < entry.packet => return Ok(()),
            SkipState::Reading(entry) if is_at(packet, entry) => self.skip = SkipState::None,
            SkipState::Reading(_) => {
                self.doubted = true;
                return Ok(());
            }
            SkipState::Sought { entry, .. } if is_at(packet, entry) => {
                self.number = entry.packet.saturating_add(1);
                self.skip = SkipState::None;
            }
            SkipState::Sought { stray, .. } if *stray < MAX_STRAY => {
                *stray += 1;
                return Ok(());
            }
            SkipState::Sought { .. } => return self.rewind(),
        }
        self.feed(packet);
        Ok(())
    }
}
