//! Reads the sound of a clip on the timeline of its pictures: decoded, resampled to f32, damaged packets and gaps as silence,
//! overlaps dropped, so that sound and pictures stay in sync.

use std::{collections::VecDeque, fs::File};

use ffmpeg_next::{
    ChannelLayout, Error, Packet, decoder,
    format::{Sample, context::Input, sample::Type},
    frame,
    software::resampling,
};

use crate::{
    Probe, Segment, choice,
    ffmpeg::{self, StreamFacts},
    scan::{self, MAX_READ_ERRORS},
    segments,
};

/// Format of the samples.
pub(crate) const FORMAT: Sample = Sample::F32(Type::Planar);
/// Seconds by which sound may be off before it is moved.
const LOOSE: f64 = 0.1;
/// Seconds that a clip's sound may be missing; a longer gap is a clock that jumped.
const LONGEST_GAP: f64 = 3600.0;

/// Sound that waits to be taken.
enum Piece<const CHANNELS: usize> {
    /// So many samples, which take no memory.
    Silence(u64),
    /// Samples by channel.
    Sound([VecDeque<f32>; CHANNELS]),
}

/// The sound of a clip, `CHANNELS` channels of it.
pub(crate) struct SoundReader<const CHANNELS: usize> {
    input: Input,
    stream: usize,
    segments: Vec<Segment>,
    /// Packets so far.
    packets: u64,
    base: f64,
    /// Seconds on the container's clock at which the first picture is shown.
    zero: f64,
    decoder: decoder::Audio,
    resampler: Option<resampling::Context>,
    rate: u32,
    /// What was read but not taken.
    waiting: VecDeque<Piece<CHANNELS>>,
    /// Samples in it.
    available: u64,
    /// Samples that were taken.
    taken: u64,
    ended: bool,
}

impl<const CHANNELS: usize> SoundReader<CHANNELS> {
    /// Opens the clip's sound, which comes out at the sampling rate that `rate` chooses from its own; `None` when the clip has no
    /// sound that can be read.
    pub(crate) fn open(
        file: &File,
        probe: &Probe,
        rate: impl FnOnce(u32) -> u32,
    ) -> Result<Option<Self>, String> {
        let (input, streams) = scan::open(file).map_err(|error| error.to_string())?;
        let segments = probe.index.sound_segments.clone();
        Self::with(input, &streams, segments, Some(probe.start_offset_s), rate)
    }

    /// Opens the sound of a file without pictures, or whose pictures do not matter: its times count from where it begins.
    pub(crate) fn open_alone(file: &File, rate: impl FnOnce(u32) -> u32) -> Result<Option<Self>, String> {
        let copy = file.try_clone().map_err(|error| error.to_string())?;
        let input = ffmpeg::open_sound(copy, crate::heartbeat::progress);
        let input = input.map_err(|error| format!("no container that this build reads ({error})"))?;
        let streams: Vec<StreamFacts> = input.streams().map(|stream| ffmpeg::facts(&stream)).collect();
        Self::with(input, &streams, Vec::new(), None, rate)
    }

    /// Opens the sound of an open file. `zero` is the second on its clock from which times count; `None` means the first of the
    /// sound.
    fn with(
        mut input: Input,
        streams: &[StreamFacts],
        segments: Vec<Segment>,
        zero: Option<f64>,
        rate: impl FnOnce(u32) -> u32,
    ) -> Result<Option<Self>, String> {
        let Some(facts) = choice::sound(streams).stream else { return Ok(None) };
        let index = facts.index;
        ffmpeg::read_only(&mut input, |one| one == index);
        let stream = input.stream(index).ok_or("the stream is gone")?;
        let decoder = ffmpeg::sound_decoder(&stream).map_err(|error| format!("{} ({error})", facts.codec))?;
        let (num, den) = facts.time_base;
        let base = f64::from(num) / f64::from(den.max(1));
        // Unknown times are the smallest number.
        let start = Some(stream.start_time()).filter(|&ticks| ticks != i64::MIN).unwrap_or(0);
        Ok(Some(Self {
            input,
            stream: index,
            segments,
            packets: 0,
            base,
            zero: zero.unwrap_or(start as f64 * base),
            decoder,
            resampler: None,
            rate: rate(facts.sample_rate),
            waiting: VecDeque::new(),
            available: 0,
            taken: 0,
            ended: false,
        }))
    }

    /// Samples per second.
    pub(crate) fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples that were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Samples that can be taken.
    pub(crate) fn available(&self) -> u64 {
        self.available
    }

    /// Seconds of sound that were read.
    pub(crate) fn heard(&self) -> f64 {
        (self.taken + self.available()) as f64 / f64::from(self.rate)
    }

    /// Takes up to `count` samples of each channel.
    pub(crate) fn take(&mut self, count: usize) -> [Vec<f32>; CHANNELS] {
        let mut taken = std::array::from_fn(|_| Vec::new());
        while let Some(piece) = self.waiting.front_mut() {
            let left = count - taken[0].len();
            let done = match piece {
                Piece::Silence(samples) => {
                    let some = usize::try_from(*samples).unwrap_or(usize::MAX).min(left);
                    taken.iter_mut().for_each(|channel| channel.resize(channel.len() + some, 0.0));
                    *samples -= some as u64;
                    *samples == 0
                }
                Piece::Sound(channels) => {
                    for (to, from) in taken.iter_mut().zip(channels.iter_mut()) {
                        to.extend(from.drain(..left.min(from.len())));
                    }
                    channels[0].is_empty()
                }
            };
            if !done {
                break;
            }
            self.waiting.pop_front();
        }
        self.available -= taken[0].len() as u64;
        self.taken += taken[0].len() as u64;
        taken
    }

    /// Reads and decodes the next packet of the file; returns whether there was one.
    pub(crate) fn read(&mut self) -> bool {
        let mut errors = 0;
        while !self.ended {
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() != self.stream => continue,
                Ok(()) => {
                    segments::apply(&self.segments, self.packets, &mut packet);
                    self.packets += 1;
                    // A damaged packet leaves a gap, which is filled when the next one comes.
                    let _ = self.decoder.send_packet(&packet);
                }
                Err(Error::Eof) => {
                    self.ended = true;
                    // What it still holds; an error at the end loses nothing.
                    let _ = self.decoder.send_eof();
                }
                Err(_) => {
                    errors += 1;
                    self.ended = errors > MAX_READ_ERRORS;
                    continue;
                }
            }
            self.receive();
            return true;
        }
        false
    }

    /// Takes what the decoder has.
    fn receive(&mut self) {
        let mut sound = frame::Audio::empty();
        while self.decoder.receive_frame(&mut sound).is_ok() {
            crate::heartbeat::progress();
            let at = sound.timestamp().or(sound.pts()).map(|pts| pts as f64 * self.base - self.zero);
            if let Some(samples) = self.resampled(&mut sound) {
                self.place(samples, at);
            }
            sound = frame::Audio::empty();
        }
    }

    /// Brings sound to our format; `None` for what cannot be read.
    fn resampled(&mut self, sound: &mut frame::Audio) -> Option<frame::Audio> {
        if sound.samples() == 0 || sound.rate() == 0 {
            return None;
        }
        if sound.channel_layout().is_empty() {
            sound.set_channel_layout(ChannelLayout::default(i32::from(sound.channels())));
        }
        let from = resampling::context::Definition {
            format: sound.format(),
            channel_layout: sound.channel_layout(),
            rate: sound.rate(),
        };
        let layout = ChannelLayout::default(CHANNELS as i32);
        if self.resampler.as_ref().is_none_or(|resampler| *resampler.input() != from) {
            self.resampler = resampling::Context::get(
                from.format,
                from.channel_layout,
                from.rate,
                FORMAT,
                layout,
                self.rate,
            )
            .ok();
        }
        let resampler = self.resampler.as_mut()?;
        // Room for what it held back before; swresample fills what it can.
        let samples = sound.samples() as u64 * u64::from(self.rate) / u64::from(from.rate) + 256;
        let mut out = frame::Audio::new(FORMAT, usize::try_from(samples).ok()?, layout);
        out.set_rate(self.rate);
        resampler.run(sound, &mut out).ok()?;
        (out.samples() > 0).then_some(out)
    }

    /// Puts sound that belongs `at` seconds behind what there is.
    fn place(&mut self, sound: frame::Audio, at: Option<f64>) {
        let samples = sound.samples();
        let off = at.map_or(0.0, |at| at - self.heard());
        let distance = (off.abs() * f64::from(self.rate)).round() as u64;
        let mut skipped = 0;
        if off > LOOSE && off < LONGEST_GAP {
            self.waiting.push_back(Piece::Silence(distance));
            self.available += distance;
        } else if off < -LOOSE || (off < 0.0 && self.heard() == 0.0) {
            skipped = usize::try_from(distance).unwrap_or(usize::MAX).min(samples);
        }
        if skipped < samples {
            let channel = |channel| sound.plane::<f32>(channel)[skipped..samples].iter().copied().collect();
            self.waiting.push_back(Piece::Sound(std::array::from_fn(channel)));
            self.available += (samples - skipped) as u64;
        }
    }
}
