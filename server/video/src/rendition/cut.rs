//! Copies a part of a clip into an MP4 without encoding it again.
//!
//! Copying begins at the last random access point before the part. Pictures before the part have negative times, which the
//! muxer turns into an edit list: players decode them, but begin behind them. [`super::index`] ends the edit list.

use std::{
    fs::File,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use ffmpeg_next::{Error, Packet, Rational, codec, codec::packet::Flags, format::context::Input};
use serde::{Deserialize, Serialize};

use super::{
    NEAR, Rendition, Span,
    file::{Expected, Mp4, Track},
    index,
};
use crate::{
    Probe, RandomAccessPoint, Timebase, VideoError,
    ffmpeg::{self, Medium},
    reader::INDEXED,
    scan::{self, MAX_READ_ERRORS},
};

/// Codecs that players find in an MP4.
const PICTURES: [&str; 3] = ["h264", "hevc", "av1"];
const SOUNDS: [&str; 2] = ["aac", "mp3"];

/// Seconds before a part at which its random access point may lie. All of it would be in the file, though it is not shown.
const MOST_BEFORE: f64 = 20.0;
/// Seconds by which a part may be moved to begin with a picture.
const MOST_MOVED: f64 = 0.2;
/// Seconds of sound before the part, from which decoders that overlap packets recover it.
const SOUND_BEFORE: f64 = 0.1;
/// Seconds by which the sound of a time may come later in the file than its pictures.
const INTERLEAVED: f64 = 10.0;
/// Packets after a seek within which the random access point must appear.
const MAX_STRAY: u32 = 2000;
/// Pictures behind the part that others within it may refer to.
const MAX_PENDING: usize = 64;

/// What a worker copies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    pictures: usize,
    sound: Option<usize>,
    clock: Timebase,
    entry: RandomAccessPoint,
    /// The part, from picture to picture.
    span: Span,
    /// Seconds on the container's clock at which the first picture is shown.
    zero_s: f64,
    /// Pictures from the access point to the end of the part.
    count: u64,
    /// Those within the part.
    shown: u64,
    sound_rate: Option<u32>,
    width: u32,
    height: u32,
}

impl Cut {
    /// Finds out how to copy the part `span` of a clip.
    ///
    /// # Errors
    /// Why it has to be encoded instead, for a log.
    pub fn of(probe: &Probe, span: Span) -> Result<Self, &'static str> {
        let (video, index) = (&probe.video, &probe.index);
        if !INDEXED.contains(&probe.container.as_str()) || !PICTURES.contains(&video.codec.as_str()) {
            return Err("an MP4 does not hold such pictures, or the container has no index");
        }
        if probe.audio.as_ref().is_some_and(|sound| !SOUNDS.contains(&sound.codec.as_str())) {
            return Err("an MP4 does not hold such sound");
        }
        if video.clock.counted || !index.segments.is_empty() || !index.sound_segments.is_empty() {
            return Err("the clock of the file has to be corrected");
        }
        let frames = span.frames(&index.frame_times);
        let start_s = *index.frame_times.get(frames.start).ok_or("there are no pictures")?;
        if span.start_s - start_s > MOST_MOVED {
            return Err("the part begins in the middle of a picture that stays long");
        }
        let after = index.frame_times.get(frames.end).copied().unwrap_or(probe.duration_s);
        let end_s = if after - span.end_s > MOST_MOVED { span.end_s } else { after };
        let seconds = |entry: &RandomAccessPoint| video.clock.seconds(entry.ticks);
        let before = index.access_points.partition_point(|entry| seconds(entry) <= start_s + NEAR);
        let entry = before.checked_sub(1).map(|at| index.access_points[at]);
        let entry =
            entry.filter(|entry| start_s - seconds(entry) <= MOST_BEFORE).ok_or("no key frame is near")?;
        let first = index.frame_times.partition_point(|time| *time < seconds(&entry) - NEAR);
        Ok(Self {
            pictures: video.index,
            sound: probe.audio.as_ref().map(|sound| sound.index),
            clock: video.clock,
            entry,
            span: Span { start_s, end_s },
            zero_s: probe.start_offset_s,
            count: frames.end.saturating_sub(first) as u64,
            shown: frames.len() as u64,
            sound_rate: probe.audio.as_ref().map(|sound| sound.sample_rate),
            width: video.width,
            height: video.height,
        })
    }

    /// Returns the seconds from the random access point to the end of the part.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.span.end_s - self.clock.seconds(self.entry.ticks)
    }

    fn length_s(&self) -> f64 {
        self.span.end_s - self.span.start_s
    }
}

/// Copies a part of `file`. `put` takes bytes and their place in the new file.
pub(crate) fn cut(
    file: &File,
    cut: &Cut,
    put: impl FnMut(u64, &[u8]) -> io::Result<()> + Clone + Send + 'static,
) -> Result<Rendition, VideoError> {
    let failed = |message: String| VideoError::Worker { message };
    let copying = |error: Error| failed(format!("this part cannot be copied: {error}"));
    let (mut input, streams) = scan::open(file)?;
    let is = |index: usize, medium| streams.get(index).is_some_and(|facts| facts.medium == medium);
    if !is(cut.pictures, Medium::Video) || cut.sound.is_some_and(|sound| !is(sound, Medium::Audio)) {
        return Err(failed("the file has other streams than those that were to be copied".into()));
    }
    let pictures = parameters(&input, cut.pictures).map_err(copying)?;
    let sound = cut.sound.map(|index| parameters(&input, index)).transpose().map_err(copying)?;
    let expected = Expected { pictures: cut.count, seconds: cut.seconds() + 1.0, rate: cut.sound_rate };
    let beginning = Beginning::new(expected.index_bytes(), put);
    let mut mp4 = Mp4::begin(&pictures, sound.as_ref(), expected, beginning.writer()).map_err(copying)?;
    ffmpeg::read_only(&mut input, |index| index == cut.pictures || Some(index) == cut.sound);
    ffmpeg::seek(&mut input, cut.pictures, cut.entry.ticks).map_err(copying)?;
    Copying {
        cut,
        mp4: &mut mp4,
        begun: false,
        stray: 0,
        pending: Vec::new(),
        sound_ended: cut.sound.is_none(),
    }
    .run(&mut input)?;
    mp4.end().map_err(copying)?;
    beginning
        .end(|bytes| index::adjust(bytes, cut.length_s(), streams[cut.pictures].matrix))
        .map_err(|error| failed(format!("the index of this part is not as expected: {error}")))?;
    let (width, height) = (cut.width, cut.height);
    Ok(Rendition { width, height, frames: cut.shown, sound: cut.sound.is_some(), warnings: Vec::new() })
}

/// Returns what the muxer has to know of a stream.
fn parameters(input: &Input, index: usize) -> Result<codec::Context, Error> {
    let stream = input.stream(index).ok_or(Error::StreamNotFound)?;
    let mut context = codec::Context::from_parameters(stream.parameters())?;
    context.set_time_base(stream.time_base());
    Ok(context)
}

/// What happens to a packet.
#[derive(PartialEq, Eq)]
enum Flow {
    GoesOn,
    Ended,
}

struct Copying<'a> {
    cut: &'a Cut,
    mp4: &'a mut Mp4,
    /// Whether the random access point was read.
    begun: bool,
    /// Packets before it.
    stray: u32,
    /// Pictures behind the part, until one within it follows.
    pending: Vec<Packet>,
    sound_ended: bool,
}

impl Copying<'_> {
    fn run(&mut self, input: &mut Input) -> Result<(), VideoError> {
        let mut errors = 0;
        loop {
            let mut packet = Packet::empty();
            match packet.read(input) {
                Ok(()) => errors = 0,
                Err(Error::Eof) => break,
                Err(_) if errors < MAX_READ_ERRORS => {
                    errors += 1;
                    continue;
                }
                Err(error) => return Err(failed(error)),
            }
            crate::heartbeat::progress();
            if packet.size() == 0 {
                continue;
            }
            let flow = if packet.stream() == self.cut.pictures {
                self.picture(packet)?
            } else if Some(packet.stream()) == self.cut.sound {
                let base = input.stream(packet.stream()).map_or(Rational(1, 1), |stream| stream.time_base());
                self.sound(packet, base)?
            } else {
                Flow::GoesOn
            };
            if flow == Flow::Ended {
                break;
            }
        }
        if self.begun { Ok(()) } else { Err(failed("its key frame is not where the probe found it")) }
    }

    fn picture(&mut self, mut packet: Packet) -> Result<Flow, VideoError> {
        let Cut { clock, entry, span, .. } = self.cut;
        if !self.begun {
            self.begun = packet.pts() == Some(entry.ticks) && packet.size() as u64 == entry.size;
            self.stray += 1;
            if !self.begun {
                return if self.stray < MAX_STRAY { Ok(Flow::GoesOn) } else { Ok(Flow::Ended) };
            }
        }
        let base = Rational(clock.num, clock.den);
        let start = clock.first.saturating_add(ticks(span.start_s, base));
        let (Some(pts), Some(dts)) = (packet.pts(), packet.dts()) else {
            return Err(failed("a packet has no time"));
        };
        let (pts, dts) = (pts.saturating_sub(start), dts.saturating_sub(start));
        let end = ticks(self.cut.length_s(), base);
        if dts >= end {
            self.pending.clear();
            let late = dts >= end.saturating_add(ticks(INTERLEAVED, base));
            return Ok(if self.sound_ended || late { Flow::Ended } else { Flow::GoesOn });
        }
        packet.set_pts(Some(pts));
        packet.set_dts(Some(dts));
        if pts >= end {
            self.pending.push(packet);
            return if self.pending.len() <= MAX_PENDING {
                Ok(Flow::GoesOn)
            } else {
                Err(failed("its pictures are out of order"))
            };
        }
        for mut before in std::mem::take(&mut self.pending) {
            self.write(Track::Pictures, &mut before, base)?;
        }
        self.write(Track::Pictures, &mut packet, base)?;
        Ok(Flow::GoesOn)
    }

    fn sound(&mut self, mut packet: Packet, base: Rational) -> Result<Flow, VideoError> {
        let Some(pts) = packet.pts().or(packet.dts()) else { return Err(failed("a packet has no time")) };
        let pts = pts.saturating_sub(ticks(self.cut.zero_s + self.cut.span.start_s, base));
        if pts.saturating_add(packet.duration()) < -ticks(SOUND_BEFORE, base) {
            return Ok(Flow::GoesOn);
        }
        if pts >= ticks(self.cut.length_s(), base) {
            self.sound_ended = true;
            return Ok(Flow::GoesOn);
        }
        packet.set_pts(Some(pts));
        packet.set_dts(Some(pts));
        self.write(Track::Sound, &mut packet, base)?;
        Ok(Flow::GoesOn)
    }

    fn write(&mut self, track: Track, packet: &mut Packet, base: Rational) -> Result<(), VideoError> {
        // What the demuxer says of pictures outside of the original's own edit list does not hold for ours.
        packet.set_flags(if packet.is_key() { Flags::KEY } else { Flags::empty() });
        self.mp4.take(track, packet, base).map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> VideoError {
    VideoError::Worker { message: format!("this part cannot be copied: {error}") }
}

fn ticks(seconds: f64, Rational(num, den): Rational) -> i64 {
    (seconds * f64::from(den) / f64::from(num.max(1))).round() as i64
}

/// Keeps the beginning of the new file, where the index is, to adjust it in the end.
struct Beginning<F> {
    put: F,
    room: u64,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl<F: FnMut(u64, &[u8]) -> io::Result<()> + Clone + Send + 'static> Beginning<F> {
    fn new(room: u64, put: F) -> Self {
        Self { put, room, kept: Arc::default() }
    }

    /// Returns a function that keeps bytes of the beginning and passes on the others.
    fn writer(&self) -> impl FnMut(u64, &[u8]) -> io::Result<()> + Send + 'static {
        let (mut put, room, kept) = (self.put.clone(), self.room, Arc::clone(&self.kept));
        move |offset, bytes| {
            let own = usize::try_from(room.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
            let (first, rest) = bytes.split_at(own);
            if !first.is_empty() {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let at = usize::try_from(offset).map_err(io::Error::other)?;
                let end = kept.len().max(at + first.len());
                kept.resize(end, 0);
                kept[at..at + first.len()].copy_from_slice(first);
            }
            if rest.is_empty() { Ok(()) } else { put(offset + own as u64, rest) }
        }
    }

    /// Adjusts the beginning and passes it on.
    fn end(mut self, adjust: impl FnOnce(&mut [u8]) -> Option<()>) -> io::Result<()> {
        let mut kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        adjust(&mut kept).ok_or(io::ErrorKind::InvalidData)?;
        for (number, piece) in kept.chunks(super::file::PIECE).enumerate() {
            (self.put)((number * super::file::PIECE) as u64, piece)?;
        }
        Ok(())
    }
}
