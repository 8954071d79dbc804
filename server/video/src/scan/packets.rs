//! Reads the packets of a file, without decoding, for the times of its pictures and its sound.

use ffmpeg_next::{Error, Packet, codec::packet::side_data::Type, format::context::Input};

use super::{MAX_READ_ERRORS, access_points::AccessPoints, order::Order, sound::SoundTrack};
use crate::{
    RandomAccessPoint, Segment,
    ffmpeg::{self, Medium, StreamFacts},
    segments::{self, Clock, Completer, MAX_SEGMENTS, Mark, Run},
    taken::{self, TakenTime},
    timeline::{Stamp, claimed_gap},
};

/// Packets at the start of a file that are searched for the date of recording and for encryption.
const FIRST_PACKETS: u64 = 64;

/// Seconds by which a claimed duration exceeds that of the pictures if there may be sound behind them.
const LONGER: f64 = 0.5;

/// Codecs whose decoders show nothing before the first picture that needs no other.
const STRICT: [&str; 5] = ["h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"];

/// What the packets of a file say.
pub(super) struct Packets {
    /// By stream index.
    pub(super) pictures: Vec<PictureTrack>,
    pub(super) sound: Option<SoundTrack>,
    /// Whether packets of sound were skipped.
    skipped_sound: bool,
    /// Which streams are encrypted.
    pub(super) encrypted: Vec<bool>,
    /// The date that the camera wrote beside the pictures.
    pub(super) recorded: Option<TakenTime>,
    /// Packets that are damaged or cut off.
    pub(super) corrupt: u64,
    pub(super) warnings: Vec<String>,
}

impl Packets {
    /// Returns whether the sound that was skipped matters: the clock restarts, so that the sound has to be cut into segments as
    /// well, or there was none at the end of a file that claims to be `claimed_s` seconds long.
    pub(super) fn lack_sound(&self, candidates: &[StreamFacts], claimed_s: f64) -> bool {
        let silent = self.sound.as_ref().is_some_and(SoundTrack::is_empty);
        let longest = candidates.iter().map(|facts| self.pictures[facts.index].seconds(facts));
        self.skipped_sound
            && (self.pictures.iter().any(|track| !track.runs.is_empty())
                || silent && claimed_s > longest.fold(0.0, f64::max) + LONGER)
    }
}

/// The packets of one stream of pictures.
pub(super) struct PictureTrack {
    pub(super) stamps: Vec<Stamp>,
    /// Frames that an edit list hides.
    pub(super) hidden: u64,
    /// Pictures before the first one that can be decoded.
    pub(super) leading: u64,
    /// Tick at which the first of them would be shown.
    pub(super) begin: Option<i64>,
    /// Whether decoding can start at the first packet.
    begins_whole: bool,
    /// PTS of the first picture that can be decoded, if it is not in the first packet.
    entry: Option<i64>,
    access_points: AccessPoints,
    order: Order,
    clock: Clock,
    /// Segments behind the first one.
    runs: Vec<Run>,
    /// DTS before the packet that is seen next.
    dts: i64,
    /// Packets seen.
    seen: u64,
    completer: Completer,
    /// Times that the container leaves out stay unknown.
    partial_times: bool,
    /// Packets so far, seen or not.
    pub(super) count: u64,
    /// Positions in the file of the first and the last packet of which it is known.
    extent: Option<(isize, isize)>,
}

impl PictureTrack {
    fn new(facts: &StreamFacts, restarts: bool, partial_times: bool) -> Self {
        Self {
            stamps: Vec::new(),
            hidden: 0,
            leading: 0,
            begin: None,
            begins_whole: true,
            entry: None,
            access_points: AccessPoints::new(facts),
            order: Order::new(facts),
            clock: Clock::new(facts.time_base, restarts, facts.intra_only),
            runs: Vec::new(),
            dts: 0,
            seen: 0,
            completer: Completer::default(),
            partial_times,
            count: 0,
            extent: None,
        }
    }

    /// Takes the next packet of the file.
    fn take(&mut self, facts: &StreamFacts, packet: Packet) {
        self.count += 1;
        let position = packet.position();
        if position >= 0 {
            self.extent = Some((self.extent.map_or(position, |(first, _)| first), position));
        }
        // Edit lists move the times of what they hide.
        let begins = !ffmpeg::hidden(&packet)
            && self.clock.begins(Mark { pts: packet.pts(), dts: packet.dts(), key: packet.is_key() });
        if self.partial_times || self.completer.is_idle() && packet.pts().is_some() {
            self.see(facts, &packet, begins);
            return;
        }
        let mut completer = std::mem::take(&mut self.completer);
        completer.push(packet, begins, |packet, begins| self.see(facts, &packet, begins));
        self.completer = completer;
    }

    /// Takes what still waits for its PTS.
    fn finish(&mut self, facts: &StreamFacts) {
        std::mem::take(&mut self.completer).finish(|packet, begins| self.see(facts, &packet, begins));
    }

    fn see(&mut self, facts: &StreamFacts, packet: &Packet, begins: bool) {
        let number = self.seen;
        self.seen += 1;
        let hidden = ffmpeg::hidden(packet);
        if let Some(dts) = packet.dts().or(packet.pts()).filter(|_| !hidden) {
            if begins && self.runs.len() < MAX_SEGMENTS {
                self.runs.push(Run { packet: number, stamp: self.stamps.len(), before: self.dts, dts });
                self.access_points.begin_segment();
            }
            self.dts = dts;
        }
        let entry = self.access_points.see(packet) || packet.is_key();
        if number == 0 {
            self.begins_whole = entry || !STRICT.contains(&facts.codec.as_str());
        } else if entry && !self.begins_whole && self.entry.is_none() && self.runs.is_empty() {
            self.entry = packet.pts();
        }
        self.order.see(packet);
        if never_shown(facts, packet) {
            return;
        }
        if hidden {
            self.hidden += 1;
        } else {
            self.stamps.push(Stamp { pts: packet.pts(), duration: packet.duration() });
        }
    }

    /// Returns whether the container has no presentation times although pictures are reordered, so that all times are those of
    /// other pictures.
    pub(super) fn forgot_reordering(&self) -> bool {
        self.hidden == 0 && self.order.is_forgotten()
    }

    /// Leaves out the pictures that come before the first one that can be decoded.
    fn drop_leading(&mut self) {
        let Some(entry) = self.entry else { return };
        let first = self.runs.first().map_or(self.stamps.len(), |run| run.stamp);
        self.begin = self.stamps.iter().filter_map(|stamp| stamp.pts).min();
        let early = |stamp: &Stamp| stamp.pts.is_none_or(|pts| pts < entry);
        let count = self.stamps[..first].iter().filter(|stamp| early(stamp)).count();
        if count == first {
            return;
        }
        let mut number = 0;
        self.stamps.retain(|stamp| {
            number += 1;
            number > first || !early(stamp)
        });
        self.runs.iter_mut().for_each(|run| run.stamp -= count);
        self.leading = count as u64;
    }

    /// Seconds from the first to the last picture.
    fn seconds(&self, facts: &StreamFacts) -> f64 {
        let times = || self.stamps.iter().filter_map(|stamp| stamp.pts);
        let (num, den) = facts.time_base;
        let ticks = times().max().unwrap_or(0).saturating_sub(times().min().unwrap_or(0));
        ticks as f64 * f64::from(num) / f64::from(den.max(1))
    }

    /// Moves the times to one timeline. Returns the segments, if there are several, and the number of recordings.
    pub(super) fn lay_out(&mut self, facts: &StreamFacts) -> (Vec<Segment>, usize) {
        // With the first segment, there would be too many.
        if self.runs.len() + 1 >= MAX_SEGMENTS {
            // No clock at all: frames are counted.
            self.stamps.iter_mut().for_each(|stamp| stamp.pts = None);
            return (Vec::new(), 1);
        }
        self.drop_leading();
        let (num, den) = facts.time_base;
        let second = i64::from(den) / i64::from(num.max(1));
        let usual = claimed_gap(facts.time_base, &facts.rates);
        segments::lay_out(&self.runs, &mut self.stamps, second, usual)
    }

    /// Returns whether the settings of the encoder change on the way.
    pub(super) fn reconfigured(&self) -> bool {
        self.access_points.reconfigured()
    }

    /// The random access points, with the times that packets have once they are moved.
    pub(super) fn access_points(&mut self, segments: &[Segment]) -> Vec<RandomAccessPoint> {
        let mut list = std::mem::take(&mut self.access_points.list);
        for point in &mut list {
            point.ticks = point.ticks.saturating_add(segments::shift(segments, point.packet));
        }
        list
    }
}

/// Reads all packets of the streams of pictures `candidates`, and those of `sound` that lie behind the byte `sound_from` of the
/// file: they are many, and usually only their end matters.
pub(super) fn read(
    input: &mut Input,
    candidates: &[StreamFacts],
    sound: Option<&StreamFacts>,
    sound_from: u64,
    max_packets: u64,
) -> Packets {
    let heard = sound.map(|facts| facts.index);
    let shown = |index: usize| candidates.iter().any(|facts| facts.index == index);
    let mut skips_sound = heard.is_some() && sound_from > 0;
    let skipped_sound = skips_sound;
    ffmpeg::read_only(input, |index| shown(index) || !skips_sound && heard == Some(index));
    let (restarts, partial_times) = (ffmpeg::clock_restarts(input), has_partial_times(input));
    let new = |facts: &StreamFacts| PictureTrack::new(facts, restarts, partial_times);
    let mut pictures: Vec<PictureTrack> =
        input.streams().map(|stream| new(&ffmpeg::facts(&stream))).collect();
    let mut sound = sound.map(|facts| SoundTrack::new(facts, candidates));
    let mut warnings = Vec::new();
    let mut encrypted = vec![false; pictures.len()];
    let mut recorded = None;
    let (mut seen, mut corrupt, mut errors) = (0u64, 0u64, 0u32);
    // Packets of streams that begin behind what opening the file has read.
    let mut late = Vec::new();
    loop {
        // A new packet each time: reading into one that holds data would leak that data.
        let mut packet = Packet::empty();
        match packet.read(input) {
            Ok(()) => errors = 0,
            Err(Error::Eof) => break,
            Err(error) => {
                errors += 1;
                if errors >= MAX_READ_ERRORS {
                    warnings.push(format!("reading stopped before the end of the file ({error})"));
                    break;
                }
                continue;
            }
        }
        if let Some(sound) = &mut sound
            && packet.stream() == sound.index
        {
            sound.see(&packet, &pictures);
            continue;
        }
        seen += 1;
        if seen > max_packets {
            warnings.push(format!("only the first {max_packets} packets were read"));
            break;
        }
        if let Some(number) = packet.stream().checked_sub(pictures.len()) {
            late.resize(late.len().max(number + 1), 0u64);
            late[number] += 1;
        }
        let Some(facts) = candidates.iter().find(|facts| facts.index == packet.stream()) else { continue };
        corrupt += u64::from(packet.is_corrupt());
        // Where the position is not known, all sound is read.
        if skips_sound && u64::try_from(packet.position()).map_or(true, |position| position >= sound_from) {
            skips_sound = false;
            ffmpeg::read_only(input, |index| shown(index) || heard == Some(index));
        }
        let Some(track) = pictures.get_mut(facts.index).filter(|_| packet.size() > 0) else { continue };
        if seen <= FIRST_PACKETS {
            recorded =
                recorded.or_else(|| packet.data().and_then(|data| taken::in_packet(&facts.codec, data)));
            encrypted[facts.index] |= packet.side_data().any(|data| data.kind() == Type::EncryptionInfo);
        }
        track.take(facts, packet);
    }
    for facts in candidates {
        if let Some(track) = pictures.get_mut(facts.index) {
            track.finish(facts);
        }
    }
    let streams = input.streams().skip(pictures.len()).map(|stream| ffmpeg::facts(&stream));
    let moving = |(facts, count): &(StreamFacts, u64)| facts.medium == Medium::Video && *count > 1;
    warnings.extend(streams.zip(late).filter(moving).map(|(facts, count)| not_shown(&facts, count)));
    Packets { pictures, sound, skipped_sound, encrypted, recorded, corrupt, warnings }
}

/// Warns of pictures that are not shown because they are in a part of the file where the stream of `chosen` has none: another
/// kind of recording, joined to the first one.
pub(super) fn parts_apart(
    pictures: &[PictureTrack],
    chosen: &StreamFacts,
    candidates: &[StreamFacts],
) -> Vec<String> {
    let extent = |facts: &StreamFacts| pictures[facts.index].extent;
    let Some((first, last)) = extent(chosen) else { return Vec::new() };
    let apart = |facts: &&StreamFacts| {
        let is_apart = extent(facts).is_some_and(|(from, to)| to < first || from > last);
        is_apart && !facts.still && pictures[facts.index].stamps.len() > 1
    };
    let count = |facts: &StreamFacts| pictures[facts.index].stamps.len() as u64;
    candidates.iter().filter(apart).map(|facts| not_shown(facts, count(facts))).collect()
}

fn not_shown(facts: &StreamFacts, count: u64) -> String {
    format!("a part of the file with {count} pictures of another kind ({}) is not shown", facts.codec)
}

/// Returns whether what a container leaves out cannot be computed. AVI has decoding times only, which equal presentation times
/// unless frames are reordered; ffmpeg then leaves some open, and the others mean nothing.
pub(crate) fn has_partial_times(input: &Input) -> bool {
    input.format().name() == "avi"
}

/// VP8 stores references that are never shown in packets of their own.
fn never_shown(facts: &StreamFacts, packet: &Packet) -> bool {
    facts.codec == "vp8" && packet.data().and_then(<[u8]>::first).is_some_and(|byte| byte & 0x10 == 0)
}
