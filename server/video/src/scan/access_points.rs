//! The random access points of one stream, thinned out where there are many.

use ffmpeg_next::Packet;

use crate::{
    RandomAccessPoint,
    ffmpeg::{self, StreamFacts},
    random_access::RandomAccessScanner,
};

/// Maximum random access points of a clip; beyond it, every second one is dropped.
const MAX_ACCESS_POINTS: usize = 4096;

/// The random access points of one stream.
pub(super) struct AccessPoints {
    scanner: RandomAccessScanner,
    pub(super) list: Vec<RandomAccessPoint>,
    /// Packets so far.
    packets: u64,
    /// Latest time so far.
    latest: i64,
    /// One of this many points is kept.
    stride: u64,
    found: u64,
    /// Whether a packet brought another codec header.
    reconfigured: bool,
}

impl AccessPoints {
    pub(super) fn new(facts: &StreamFacts) -> Self {
        let scanner = RandomAccessScanner::new(&facts.codec, &facts.header);
        Self {
            scanner,
            list: Vec::new(),
            packets: 0,
            latest: i64::MIN,
            stride: 1,
            found: 0,
            reconfigured: false,
        }
    }

    /// Notes that the next packet begins a segment, whose times follow all earlier ones.
    pub(super) fn begin_segment(&mut self) {
        self.latest = i64::MIN;
    }

    /// Takes a packet; returns whether its bits show that decoding can start there.
    pub(super) fn see(&mut self, packet: &Packet) -> bool {
        let number = self.packets;
        self.packets += 1;
        if ffmpeg::reconfigures(packet) {
            self.reconfigured = true;
            self.scanner.doubt();
        }
        let entry = packet.data().is_some_and(|data| self.scanner.is_access_point(data));
        self.note(packet, number, entry);
        entry
    }

    /// Returns whether the settings of the encoder changed between the packets.
    pub(super) fn reconfigured(&self) -> bool {
        self.reconfigured || self.scanner.has_other_sets()
    }

    fn note(&mut self, packet: &Packet, number: u64, entry: bool) {
        if !self.scanner.proven() {
            self.list = Vec::new();
            return;
        }
        // VP8's hidden references and frames hidden by an edit list have times that are not shown.
        let Some(pts) = packet.pts() else { return self.scanner.doubt() };
        let first = pts > self.latest;
        self.latest = self.latest.max(pts);
        // All earlier frames must be shown earlier, or a later target could lie before the access point.
        if !entry || !first || ffmpeg::hidden(packet) {
            return;
        }
        self.found += 1;
        if !(self.found - 1).is_multiple_of(self.stride) {
            return;
        }
        if self.list.len() >= MAX_ACCESS_POINTS {
            let mut keep = true;
            self.list.retain(|_| {
                let kept = keep;
                keep = !keep;
                kept
            });
            self.stride *= 2;
        }
        let (position, size) = (packet.position() as i64, packet.size() as u64);
        self.list.push(RandomAccessPoint { packet: number, ticks: pts, position, size });
    }
}
