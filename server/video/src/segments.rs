//! Finds where the clock of a file starts again or leaps, and lays what lies between (segments) one after the other.
//!
//! Two recordings joined, cells of a DVD and files of camcorders have times that are one clock only in parts. The probe feeds
//! the packets of each stream to a [`clock::Clock`] in the order of the file; once all are read, [`layout`] computes by how
//! many ticks the times of each segment are moved. Everything else only adds these ticks to PTS and DTS before a packet
//! reaches a decoder, so that frames carry times of the one timeline.

mod clock;
mod complete;
mod layout;
mod sound;

use ffmpeg_next::Packet;
use serde::{Deserialize, Serialize};

pub(crate) use clock::{Clock, Mark};
pub(crate) use complete::Completer;
pub(crate) use layout::{Run, lay_out};
pub(crate) use sound::{SoundRun, add as add_sound, sound_segments};

/// Maximum segments of a stream. One with more has no usable clock, and its frames are counted.
pub(crate) const MAX_SEGMENTS: usize = 4096;

/// Packets of a stream whose times are moved alike; up to the first packet of the next segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Index of its first packet among the packets of the stream.
    pub packet: u64,
    /// Ticks that are added to PTS and DTS.
    pub shift: i64,
}

/// Returns the ticks by which the times of packet number `packet` are moved.
pub(crate) fn shift(segments: &[Segment], packet: u64) -> i64 {
    let after = segments.partition_point(|segment| segment.packet <= packet);
    after.checked_sub(1).map_or(0, |at| segments[at].shift)
}

/// Moves the times of `packet`, which is number `number` of its stream.
pub(crate) fn apply(segments: &[Segment], number: u64, packet: &mut Packet) {
    let shift = shift(segments, number);
    if shift != 0 {
        packet.set_pts(packet.pts().map(|pts| pts.saturating_add(shift)));
        packet.set_dts(packet.dts().map(|dts| dts.saturating_add(shift)));
    }
}

/// Returns whether a segment begins with packet number `packet`.
pub(crate) fn begins(segments: &[Segment], packet: u64) -> bool {
    segments.binary_search_by_key(&packet, |segment| segment.packet).is_ok()
}

/// Returns whether `segments` are in order and no more than there can be.
pub(crate) fn sane(segments: &[Segment]) -> bool {
    segments.len() <= MAX_SEGMENTS && segments.is_sorted_by(|a, b| a.packet < b.packet)
}

#[cfg(test)]
mod tests {
    use super::{Segment, sane, shift};

    #[test]
    fn each_packet_is_moved_with_its_segment() {
        let segments = [Segment { packet: 0, shift: 0 }, Segment { packet: 10, shift: -7 }];
        assert_eq!([0, 9, 10, 99].map(|packet| shift(&segments, packet)), [0, 0, -7, -7]);
        assert_eq!(shift(&[], 5), 0);
        assert!(sane(&segments) && !sane(&[segments[1], segments[0]]));
    }
}
