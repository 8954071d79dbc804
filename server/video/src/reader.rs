//! Reads packets, decodes the necessary ones, and offers the pictures to the picker.
//!
//! Where the probe has found random access points ([`crate::random_access`]), the packets between a target and the access
//! point of the next one are not decoded: they are dropped, or skipped by a seek when they are many. The container's index is
//! not trusted: after a seek, the access point must appear with its time, position and size, every target must get a picture
//! of exactly its time, and no decoder error may occur. Otherwise the clip is decoded again from the start, with a warning.
//! The same applies where unreferenced pictures ([`crate::disposable`]) were dropped and a picture is damaged, or a target has
//! no picture of its own. So the frames do not depend on what was left out, nor on the number of threads, which report errors
//! sooner or later.

mod open;
mod seek;

use std::{fs::File, sync::Arc};

use ffmpeg_next::{
    Error, Packet, codec::discard::Discard, decoder, error::EAGAIN, format::context::Input, frame,
};

use crate::{
    DecodeRequest, VideoError,
    decode::Tuning,
    disposable::Disposable,
    ffmpeg::nvdec,
    picker::Picker,
    scan::{self, MAX_READ_ERRORS},
    segments::Completer,
};
use open::begin;
use seek::SkipState;

/// Containers whose index gives the same packets with the same times: both store the times of every packet, whereas MPEG
/// streams have to derive some from their neighbours.
pub(crate) const INDEXED: [&str; 2] = ["mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"];

/// Consecutive errors of a decoder that is drained; more than it has threads, each of which may report one.
const MAX_DECODER_ERRORS: u32 = 64;

/// The report after the last frame.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct DecodeReport {
    pub(crate) warnings: Vec<String>,
    pub(crate) replaced: u64,
    /// Number of pictures decoded.
    pub(crate) decoded: u64,
    /// Whether NVDEC decoded them.
    pub(crate) chip: bool,
}

/// Which packets are decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// All of them.
    All,
    /// Reference pictures and requested ones.
    SkipUnreferenced,
    /// Requested ones only: every picture is intra-coded.
    WantedOnly,
}

/// Whether packets may be skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// No: the clip is decoded from the start.
    Nothing,
    /// Yes, but none was skipped yet.
    Unused,
    /// Yes, and some were, since this tick.
    Leapt(i64),
}

pub(crate) struct Reader<'a> {
    file: &'a File,
    request: &'a DecodeRequest,
    max_pixels: u64,
    threads: usize,
    input: Input,
    decoder: decoder::Video,
    picker: Picker<'a>,
    pace: Pace,
    /// Detects disposable packets; `None` where that is not possible or has proved wrong.
    disposable: Option<Disposable>,
    /// Whether unreferenced pictures were dropped.
    kept_back: bool,
    trust: Trust,
    /// Whether a skipped packet turned out to be needed.
    doubted: bool,
    skip: SkipState,
    /// Packets that wait for their PTS.
    completer: Completer,
    /// The container has times of some packets only, which mean nothing (AVI).
    partial_times: bool,
    /// Packets of the stream that were read.
    read: u64,
    /// Gap in bytes above which the container's index is used.
    index_leap: i64,
    /// Index and position of the next and the last packet.
    number: u64,
    position: i64,
    decoded: u64,
    chip: bool,
    counter: i64,
    damaged: u64,
    warnings: Vec<String>,
    first_error: Option<Error>,
}

impl<'a> Reader<'a> {
    /// Opens `file` and its decoder; the picker's targets are those of `request`.
    pub(crate) fn open(
        file: &'a File,
        request: &'a DecodeRequest,
        max_pixels: u64,
        Tuning { index_leap, threads }: Tuning,
        picker: Picker<'a>,
    ) -> Result<Self, VideoError> {
        let (input, decoder, facts) = begin(file, request, max_pixels, threads)?;
        let pace = match facts.codec.as_str() {
            _ if request.clock.counted => Pace::All,
            _ if facts.intra_only => Pace::WantedOnly,
            // Skipping a field would leave half a picture.
            "h264" | "hevc" | "mpeg1video" | "mpeg2video" | "mpeg4" if !facts.interlaced => {
                Pace::SkipUnreferenced
            }
            _ => Pace::All,
        };
        let disposable =
            (pace == Pace::SkipUnreferenced).then(|| Disposable::of(&facts.codec, &facts.header));
        let trusted = !request.access_points.is_empty() && !request.clock.counted;
        Ok(Self {
            file,
            request,
            max_pixels,
            threads,
            // After a seek, the number of a packet is not known, and with it the segment.
            index_leap: if INDEXED.contains(&input.format().name()) && request.segments.is_empty() {
                index_leap
            } else {
                i64::MAX
            },
            partial_times: scan::has_partial_times(&input),
            input,
            decoder,
            picker,
            pace,
            disposable: disposable.flatten(),
            kept_back: false,
            trust: if trusted { Trust::Unused } else { Trust::Nothing },
            doubted: false,
            skip: SkipState::None,
            completer: Completer::default(),
            read: 0,
            number: 0,
            position: 0,
            decoded: 0,
            chip: false,
            counter: 0,
            damaged: 0,
            warnings: Vec::new(),
            first_error: None,
        })
    }

    /// Decodes all targets.
    pub(crate) fn run(mut self) -> Result<DecodeReport, VideoError> {
        self.pass()?;
        if self.doubted {
            self.restart()?;
            self.pass()?;
        }
        self.finish()
    }

    /// Reads until all targets are done, the file ends, or a seek went wrong.
    fn pass(&mut self) -> Result<(), VideoError> {
        let mut errors = 0;
        while !self.picker.done() && !self.doubted {
            self.leap()?;
            // A new packet each time, as in the probe.
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => errors = 0,
                Err(_) if matches!(self.skip, SkipState::Sought { .. }) => {
                    self.rewind()?;
                    continue;
                }
                Err(Error::Eof) => {
                    self.read_rest()?;
                    break;
                }
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
                self.read(packet)?;
            }
        }
        if !self.picker.done() && !self.doubted {
            self.empty_decoder();
        }
        self.doubted |= self.left_out() && !self.picker.done();
        Ok(())
    }

    /// Returns whether packets were skipped.
    fn left_out(&self) -> bool {
        self.kept_back || matches!(self.trust, Trust::Leapt(_))
    }

    fn feed(&mut self, packet: &Packet) {
        crate::heartbeat::progress();
        let wanted = packet.pts().is_none_or(|pts| self.picker.wants(pts));
        if !wanted
            && self.disposable.as_ref().is_some_and(|known| packet.data().is_some_and(|data| known.is(data)))
        {
            self.kept_back = true;
            return;
        }
        match self.pace {
            Pace::WantedOnly if !wanted => return,
            Pace::SkipUnreferenced if !wanted => {
                self.kept_back = true;
                self.decoder.skip_frame(Discard::NonReference);
            }
            _ => self.decoder.skip_frame(Discard::Default),
        }
        if let Err(error) = self.decoder.send_packet(packet) {
            self.note(error);
        }
        self.drain();
        if let Some(pts) = packet.pts()
            && self.trust != Trust::Nothing
        {
            self.picker.feed(pts);
            self.settle();
        }
    }

    /// Before a seek, drains the decoder once it has all packets: decoding the following ones would only serve to push its
    /// pictures out.
    fn settle(&mut self) {
        let (unfed, target) = self.picker.unfed();
        let last = match target {
            Some(target) => self.far(target).is_some(),
            None => self.trust != Trust::Unused,
        };
        if unfed == self.picker.served() || !last {
            return;
        }
        if self.trust == Trust::Unused {
            self.trust = Trust::Leapt(i64::MIN);
        }
        self.empty_decoder();
        self.decoder.flush();
        self.doubted |= self.picker.served() < unfed;
    }

    fn empty_decoder(&mut self) {
        if let Err(error) = self.decoder.send_eof() {
            self.note(error);
        }
        self.drain();
    }

    fn drain(&mut self) {
        let mut errors = 0;
        while !self.picker.done() {
            let mut picture = frame::Video::empty();
            match self.decoder.receive_frame(&mut picture) {
                Ok(()) => errors = 0,
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => return,
                // With threads, it is the error of one picture; those behind it follow.
                Err(error) if errors < MAX_DECODER_ERRORS => {
                    self.note(error);
                    errors += 1;
                    continue;
                }
                Err(_) => return,
            }
            let ticks = if self.request.clock.counted {
                self.counter
            } else {
                picture.timestamp().or(picture.pts()).unwrap_or_else(|| self.picker.after_previous())
            };
            self.counter += 1;
            self.decoded += 1;
            let damaged = picture.is_corrupt() || picture.has_decode_errors();
            if let Trust::Leapt(since) = self.trust {
                // Leading pictures of an open GOP refer to skipped ones.
                if ticks < since {
                    continue;
                }
                if self.picker.missed(ticks) {
                    self.doubted = true;
                    return;
                }
            }
            if self.left_out() && damaged || self.kept_back && self.picker.lost(ticks) {
                self.doubted = true;
                return;
            }
            if nvdec::on_device(&picture) {
                self.chip = true;
                // Any picture may have to replace a broken neighbour, so all are fetched.
                match nvdec::fetched(&picture) {
                    Ok(fetched) => picture = fetched,
                    Err(error) => {
                        self.note(error);
                        continue;
                    }
                }
            }
            self.damaged += u64::from(damaged);
            self.picker.offer(Arc::new(picture), ticks, damaged);
        }
    }

    fn note(&mut self, error: Error) {
        self.doubted |= self.left_out();
        if self.trust == Trust::Unused {
            // All packets were decoded so far, and so are the rest.
            self.trust = Trust::Nothing;
        }
        self.disposable = None;
        self.first_error.get_or_insert(error);
    }

    /// Decodes all remaining targets from the start of the file.
    fn restart(&mut self) -> Result<(), VideoError> {
        (self.input, self.decoder, _) = begin(self.file, self.request, self.max_pixels, self.threads)?;
        self.picker.restart();
        let leapt = matches!(self.trust, Trust::Leapt(_));
        (self.trust, self.doubted, self.skip) = (Trust::Nothing, false, SkipState::None);
        (self.disposable, self.kept_back) = (None, false);
        // What is concealed in a damaged picture depends on the pictures before it, whether they are shown or not.
        if self.pace == Pace::SkipUnreferenced {
            self.pace = Pace::All;
        }
        self.completer.clear();
        (self.number, self.position, self.read, self.counter, self.damaged) = (0, 0, 0, 0, 0);
        self.first_error = None;
        if leapt {
            let warning = "seeking gave damaged pictures, so the clip was decoded from its beginning";
            self.warnings.push(warning.into());
        }
        Ok(())
    }

    fn finish(mut self) -> Result<DecodeReport, VideoError> {
        let replaced = self.picker.flush().ok_or_else(|| VideoError::NoFrames {
            message: self
                .first_error
                .map_or_else(|| "the decoder gave none".into(), |error| error.to_string()),
        })?;
        let mut warnings = self.warnings;
        if replaced > 0 {
            let of = self.request.targets.len();
            warnings.push(format!(
                "{replaced} of {of} frames could not be decoded; their neighbours in time stand in for them"
            ));
        }
        if self.damaged > 0 {
            warnings.push(format!("{} decoded pictures are damaged", self.damaged));
        }
        Ok(DecodeReport { warnings, replaced, decoded: self.decoded, chip: self.chip })
    }
}
