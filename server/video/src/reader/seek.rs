//! Skips the packets before the access point of the next target, by a seek where they are many, and verifies that the access
//! point is the one that the probe found.

use ffmpeg_next::Packet;

use super::{Reader, Trust, open::begin};
use crate::{RandomAccessPoint, Target, VideoError, ffmpeg};

/// Minimum packets before an access point for a seek to be worth restarting the decoder.
const MIN_LEAP: u64 = 8;
/// Packets after a seek within which the access point must appear.
const MAX_STRAY: u32 = 2000;

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
        if self.trust == Trust::Nothing || self.awaited.is_some() {
            return Ok(());
        }
        let Some(entry) = self.picker.target().and_then(|target| self.far(target)) else { return Ok(()) };
        self.decoder.flush();
        self.picker.forget();
        self.trust = Trust::Leapt(entry.ticks);
        self.awaited = Some(entry);
        if entry.position.saturating_sub(self.position) > self.index_leap {
            self.stray = Some(0);
            if ffmpeg::seek(&mut self.input, self.request.stream, entry.ticks).is_err() {
                self.rewind()?;
            }
        }
        Ok(())
    }

    /// Returns to the start of the file to reach the access point by reading, because the index is wrong.
    pub(super) fn rewind(&mut self) -> Result<(), VideoError> {
        self.input = begin(self.file, self.request, self.max_pixels)?.0;
        (self.stray, self.index_leap, self.number, self.position) = (None, i64::MAX, 0, 0);
        Ok(())
    }

    /// Handles a packet of the stream.
    pub(super) fn take(&mut self, packet: &Packet) -> Result<(), VideoError> {
        let number = self.number;
        self.number += 1;
        self.position = packet.position() as i64;
        if let Some(entry) = self.awaited {
            let met = packet.pts() == Some(entry.ticks)
                && packet.position() as i64 == entry.position
                && packet.size() as u64 == entry.size;
            match &mut self.stray {
                Some(_) if met => self.number = entry.packet.saturating_add(1),
                Some(packets) if *packets < MAX_STRAY => {
                    *packets += 1;
                    return Ok(());
                }
                Some(_) => return self.rewind(),
                None if number < entry.packet => return Ok(()),
                None if met => {}
                None => {
                    self.doubted = true;
                    return Ok(());
                }
            }
            (self.awaited, self.stray) = (None, None);
        }
        self.feed(packet);
        Ok(())
    }
}
