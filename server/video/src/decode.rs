//! The decoder, inside the worker: the frames of a request, in order, upright, at their size.
//!
//! One thread demuxes and decodes, another converts, turns and resizes; between them a short queue, so
//! memory holds a handful of pictures whatever the length of the clip. Frames are found by their time.

use std::{
    fs::File,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use ffmpeg_next::{
    Error, Packet, codec::discard::Discard, decoder, error::EAGAIN, format::context::Input, frame,
};

use crate::{
    DecodeRequest, Target, VideoError,
    ffmpeg::{self, Converter},
    orient::Orientation,
    resize::resample,
    scan::{self, MAX_READ_ERRORS},
};

/// Decoded pictures that wait for conversion.
const QUEUE: usize = 2;
/// Threads of one decoder at most: each costs a few pictures of memory.
const MAX_THREADS: usize = 8;

/// What is said after the last frame.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) warnings: Vec<String>,
    pub(crate) replaced: u64,
}

/// A picture for a target, on its way to the converter.
struct Pick {
    target: Target,
    ticks: i64,
    picture: Arc<frame::Video>,
}

/// Decodes the frames of `request` and hands each to `emit` (target, PTS in ticks, RGB8 rows); stops early
/// when `emit` says `false`.
pub(crate) fn decode(
    file: &File,
    request: &DecodeRequest,
    max_pixels: u64,
    emit: impl FnMut(Target, i64, Vec<u8>) -> bool + Send,
) -> Result<Report, VideoError> {
    let (mut input, streams) = scan::open(file)?;
    let changed = || VideoError::BadRequest { message: "the file is not the one that was probed".into() };
    let facts = streams.get(request.stream).ok_or_else(changed)?;
    ffmpeg::read_only(&mut input, |index| index == request.stream);
    let stream = input.stream(request.stream).ok_or_else(changed)?;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let decoder = ffmpeg::decoder(&stream, threads, max_pixels)
        .map_err(|error| VideoError::Unsupported { message: format!("{} ({error})", facts.codec) })?;
    let slack = request.slack();
    let pace = match facts.codec.as_str() {
        _ if request.clock.counted => Pace::All,
        _ if facts.intra_only => Pace::WantedOnly,
        // A skipped field would leave half a picture.
        "h264" | "hevc" if !facts.interlaced => Pace::SkipUnreferenced,
        _ => Pace::All,
    };
    let (sender, receiver) = sync_channel(QUEUE);
    let picker =
        Picker { targets: &request.targets, next: 0, previous: None, spare: None, slack, sender, found: 0 };
    let reader = Reader { input, decoder, picker, request, pace, decoded: 0, damaged: 0, first_error: None };
    thread::scope(|scope| {
        let converter = scope.spawn(|| convert(receiver, request, emit));
        let mut report = reader.run()?;
        let converted =
            converter.join().map_err(|_| VideoError::Worker { message: "the converter panicked".into() })?;
        report.warnings.extend(converted?);
        Ok(report)
    })
}

/// Which packets have to be decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// All of them.
    All,
    /// Those that others refer to, and the wanted ones.
    SkipUnreferenced,
    /// The wanted ones: every picture stands alone.
    WantedOnly,
}

struct Reader<'a> {
    input: Input,
    decoder: decoder::Video,
    picker: Picker<'a>,
    request: &'a DecodeRequest,
    pace: Pace,
    decoded: i64,
    damaged: u64,
    first_error: Option<Error>,
}

impl Reader<'_> {
    fn run(mut self) -> Result<Report, VideoError> {
        let mut packet = Packet::empty();
        let mut errors = 0;
        while !self.picker.done() {
            match packet.read(&mut self.input) {
                Ok(()) => errors = 0,
                Err(Error::Eof) => break,
                Err(error) => {
                    self.note(error);
                    errors += 1;
                    if errors >= MAX_READ_ERRORS {
                        break;
                    }
                    continue;
                }
            }
            if packet.stream() == self.request.stream && packet.size() > 0 {
                self.feed(&packet);
            }
        }
        if !self.picker.done() {
            if let Err(error) = self.decoder.send_eof() {
                self.note(error);
            }
            self.drain();
        }
        self.finish()
    }

    fn feed(&mut self, packet: &Packet) {
        let wanted = packet.pts().is_none_or(|pts| self.picker.wants(pts));
        match self.pace {
            Pace::WantedOnly if !wanted => return,
            Pace::SkipUnreferenced if !wanted => self.decoder.skip_frame(Discard::NonReference),
            _ => self.decoder.skip_frame(Discard::Default),
        }
        if let Err(error) = self.decoder.send_packet(packet) {
            self.note(error);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while !self.picker.done() {
            let mut picture = frame::Video::empty();
            match self.decoder.receive_frame(&mut picture) {
                Ok(()) => {}
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => return,
                Err(error) => {
                    self.note(error);
                    return;
                }
            }
            let ticks = if self.request.clock.counted {
                self.decoded
            } else {
                picture.timestamp().or(picture.pts()).unwrap_or_else(|| self.picker.after_previous())
            };
            self.decoded += 1;
            let damaged = picture.is_corrupt() || picture.has_decode_errors();
            self.damaged += u64::from(damaged);
            self.picker.offer(Arc::new(picture), ticks, damaged);
        }
    }

    fn note(&mut self, error: Error) {
        self.first_error.get_or_insert(error);
    }

    fn finish(mut self) -> Result<Report, VideoError> {
        let replaced = self.picker.flush().ok_or_else(|| VideoError::NoFrames {
            message: self
                .first_error
                .map_or_else(|| "the decoder gave none".into(), |error| error.to_string()),
        })?;
        let mut warnings = Vec::new();
        if replaced > 0 {
            let of = self.request.targets.len();
            warnings.push(format!(
                "{replaced} of {of} frames could not be decoded; their neighbours in time stand in for them"
            ));
        }
        if self.damaged > 0 {
            warnings.push(format!("{} decoded pictures are damaged", self.damaged));
        }
        Ok(Report { warnings, replaced })
    }
}

/// Gives each target the picture of its time, or the nearest that there is.
struct Picker<'a> {
    targets: &'a [Target],
    next: usize,
    previous: Option<(Arc<frame::Video>, i64)>,
    /// A damaged picture, for when there is no other at all.
    spare: Option<(Arc<frame::Video>, i64)>,
    slack: i64,
    sender: SyncSender<Pick>,
    /// Targets that got their own picture.
    found: usize,
}

impl Picker<'_> {
    fn done(&self) -> bool {
        self.next >= self.targets.len()
    }

    fn after_previous(&self) -> i64 {
        self.previous.as_ref().map_or(0, |(_, ticks)| ticks.saturating_add(1))
    }

    fn wants(&self, ticks: i64) -> bool {
        let after = self.targets.partition_point(|target| target.ticks < ticks.saturating_sub(self.slack));
        self.targets.get(after).is_some_and(|target| target.ticks <= ticks.saturating_add(self.slack))
    }

    fn offer(&mut self, picture: Arc<frame::Video>, ticks: i64, damaged: bool) {
        if damaged {
            self.spare.get_or_insert((picture, ticks));
            return;
        }
        while let Some(&target) = self.targets.get(self.next) {
            if ticks < target.ticks {
                break;
            }
            let late = ticks.saturating_sub(target.ticks);
            let nearer = self
                .previous
                .as_ref()
                .filter(|(_, before)| target.ticks.saturating_sub(*before) <= late && late > 0)
                .map(|(picture, before)| (Arc::clone(picture), *before));
            let (chosen, at) = nearer.unwrap_or_else(|| (Arc::clone(&picture), ticks));
            self.send(target, chosen, at);
        }
        self.previous = Some((picture, ticks));
    }

    /// Serves what is left from the last picture. Returns how many targets have a stand-in; `None` when
    /// there is no picture at all.
    fn flush(&mut self) -> Option<u64> {
        if !self.done() {
            let (picture, ticks) = self.previous.take().or_else(|| self.spare.take())?;
            while let Some(&target) = self.targets.get(self.next) {
                self.send(target, Arc::clone(&picture), ticks);
            }
        }
        Some((self.targets.len() - self.found) as u64)
    }

    fn send(&mut self, target: Target, picture: Arc<frame::Video>, ticks: i64) {
        self.found += usize::from(target.ticks.abs_diff(ticks) <= self.slack.unsigned_abs());
        self.next += 1;
        if self.sender.send(Pick { target, ticks, picture }).is_err() {
            // Nobody wants any more: the reader has left or the converter has failed.
            self.next = self.targets.len();
        }
    }
}

/// The second thread: converts, turns, resizes, emits. Returns warnings about colour.
fn convert(
    picks: Receiver<Pick>,
    request: &DecodeRequest,
    mut emit: impl FnMut(Target, i64, Vec<u8>) -> bool,
) -> Result<Vec<String>, VideoError> {
    let orientation = Orientation { rotation: request.rotation, mirrored: request.mirrored };
    let mut converter = Converter::new();
    let mut hdr = None;
    let mut last: Option<(Arc<frame::Video>, Vec<u8>)> = None;
    for Pick { target, ticks, picture } in picks {
        let rgb = match &last {
            Some((of, rgb)) if Arc::ptr_eq(of, &picture) => rgb.clone(),
            _ => {
                hdr = hdr.or_else(|| ffmpeg::frame_transfer(&picture).filter(|name| is_hdr(name)));
                let (width, height) = (picture.width() as usize, picture.height() as usize);
                let rgb = converter.rgb(&picture).map_err(|error| VideoError::Unsupported {
                    message: format!("colours of the frames ({error})"),
                })?;
                let rgb = orientation.apply(rgb, width, height);
                let to = (request.width as usize, request.height as usize);
                resample(&rgb, orientation.size(width, height), to).unwrap_or(rgb)
            }
        };
        if !emit(target, ticks, rgb.clone()) {
            break;
        }
        last = Some((picture, rgb));
    }
    Ok(hdr
        .map(|name| format!("the clip is HDR ({name}); its colours are shown without tone mapping"))
        .into_iter()
        .collect())
}

fn is_hdr(transfer: &str) -> bool {
    matches!(transfer, "smpte2084" | "arib-std-b67")
}
